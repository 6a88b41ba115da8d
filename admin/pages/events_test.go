package pages_test

import "testing"

func TestEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book", "send")
	for i := range 60 {
		r.record(delivery(i, "title", "book", "send"))
	}
	r.fail("book", "broken")
	first := r.get("/events").want(200, "signed", "Newest events", "request-59", "book", "failed", "queued", "Older events").not("request-9 ")
	second := r.get(first.link("Older events")).want(200, "request-0", "Back to the newest").not("Older events")
	if n := len(first.all("tr")) + len(second.all("tr")); n != 62 {
		t.Errorf("%d rows, want 60 and two headings", n)
	}
	r.get("/events?state=failed&kind=send").want(200, "No event matches")
	r.get("/events?state=failed&kind=book&source=account").want(200, "request-59", "Events that match", "Clear")
	r.get("/events?id=request-17").want(200, "request-17").not("request-18")
	r.get("/events?since=2001-01-01T00%3A00&until=2001-01-02T00%3A00").want(200, "No event matches")
	for _, bad := range []string{"state=x", "since=x", "from=x", "from=e30x"} {
		r.get("/events?"+bad).want(400, "This address is invalid")
	}
	r.get("/events?state=unrecognized").want(200, "No event matches")
	r.get("/events?type=none%00&request=%ff").want(200, "No event matches")
}
