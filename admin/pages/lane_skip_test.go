package pages_test

import (
	"maps"
	"testing"
)

// The failed run of a lane is skipped after its plan. A plan that is out of date
// skips nothing.
func TestSkipLane(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(true, "book")
	r.record(delivery(1, "a", "book"))
	r.fail("book", "no such account")
	list := r.get("/lanes?held=1").want(200, "request-1", "held", "no such account")
	form := r.get(list.link("Skip event 1")).want(200, "The failed run that holds the lane is dismissed", "request-1", "no such account").fields("/lanes/skip")
	r.post("/lanes/skip", form).want(400, "This needs a reason")
	form.Set("reason", "test data")
	stale := maps.Clone(form)
	stale.Del("token")
	stale.Set("key", "another")
	r.post("/lanes/skip", stale).follow().want(200, "held")
	r.post("/lanes/skip", form).follow().want(200, "No lane waits")
	r.wantLog("ann dashboard skip_lane test data done")
	r.get("/lanes/skip?kind=book&request=request-1").want(200, "No failed run holds this lane any more")
}
