package pages_test

import (
	"net/url"
	"testing"
)

// failedFollowUps adds failed follow-up jobs of a kind.
func (r *rig) failedFollowUps(kind string, n int) {
	r.Helper()
	r.exec(`INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ($1, 'follow_up', 'slow') ON CONFLICT DO NOTHING`, kind)
	r.exec(`
		INSERT INTO lumin.river_job (kind, args, max_attempts, queue, state, attempt, finalized_at, errors)
		SELECT $1, '{}', 3, 'slow', 'discarded', 3, now(), ARRAY[jsonb_build_object('error', 'mail answered 500')] FROM generate_series(1, $2)`, kind, n)
}

// Failed follow-up jobs are retried one by one, by kind, or all.
func TestRetryFollowUps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.failedFollowUps("send_copy", 3)
	r.failedFollowUps("send_welcome", 2)
	list := r.get("/failures").want(200, "Failed follow-up jobs", "mail answered 500")
	const path = "/follow-ups/retry"

	form := r.get(list.link("Retry send_copy 1")).want(200, "Retry follow-up job 1", "send_copy", "mail answered 500", "Retry 1 job").fields(path)
	r.post(path, form).follow().want(200, "Failed follow-up jobs")
	r.wantLog("ann dashboard retry_follow_ups  done")
	r.get(path+"?job=1").want(200, "No such follow-up job has failed")
	r.post(path, form).follow().want(200)

	form = r.get(path+"?kind=send_copy").want(200, "of send_copy", "2 jobs").fields(path)
	form.Set("reason", "mail works again")
	r.post(path, form).follow().want(200, "send_welcome")
	r.wantLog("ann dashboard retry_follow_ups mail works again done")
	if n := r.value(`SELECT count(*)::text FROM lumin.river_job WHERE state = 'available' AND attempt = 0`); n != "3" {
		t.Errorf("%s jobs are queued", n)
	}

	r.post(path, r.get(r.get("/failures").link("Retry all…")).want(200, "2 jobs").fields(path)).follow().want(200).not("Failed follow-up jobs")
	for _, form := range []url.Values{nil, {"job": {"x"}}, {"job": {"1"}, "kind": {"send_copy"}}, {"kind": {""}}} {
		r.post(path, form).want(400)
	}
	r.caller.MayOperate = false
	r.get(path + "?job=1").want(200)
	r.post(path, url.Values{"all": {"1"}}).want(403)
}

// A retry covers what its plan has listed: jobs that fail afterwards stay failed.
func TestRetryLeavesLaterFollowUps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.failedFollowUps("send_copy", 2)
	const path = "/follow-ups/retry"
	form := r.get(path+"?kind=send_copy").want(200, "Retry 2 jobs").fields(path)
	r.exec(`UPDATE lumin.river_job SET finalized_at = clock_timestamp() WHERE id = 2`) // retried, and failed again
	r.failedFollowUps("send_copy", 3)
	r.post(path, form).did("1 job returned to the queue.")
	r.post(path, url.Values{"kind": {"send_copy"}, "as_of": {"yesterday"}}).want(400, "A time has the form")
	form = r.get(path+"?kind=send_copy").want(200, "Retry 4 jobs").fields(path)
	form.Del("as_of")
	r.post(path, form).did("4 jobs returned to the queue.")
}
