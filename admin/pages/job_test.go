package pages_test

import (
	"strings"
	"testing"

	"lumin-ingest/admin/pages"
)

// The arguments of a follow-up job are shown to those who may see personal data, when
// they ask, and with a row in the audit log.
func TestJobWithoutEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO lumin.river_job (id, args, metadata, kind, queue, max_attempts) VALUES (888888, '{"to": "bob@example.com"}', '{"sent": "ann@example.com"}', 'send_copy', 'slow', 3)`)
	rows := func() string {
		return r.value(`SELECT coalesce(string_agg(concat_ws(' ', actor, via, action, subject, outcome), '; ' ORDER BY id), '') FROM lumin.audit_log`)
	}
	r.get("/jobs/888888").want(200, "Job 888888", "send_copy", "slow", "The job belongs to no event", "0 of 3", "Show personal data").not("example.com")
	r.caller = pages.Caller{Name: "cat"}
	r.get("/jobs/888888").want(200, "Showing them needs the role operate").not("example.com", "Show personal data")
	r.post("/jobs/888888/reveal", nil).want(403, "operate").not("example.com")
	if got := rows(); got != "" {
		t.Errorf("the log has %s", got)
	}
	r.caller = pages.Caller{Name: "ann", MayOperate: true}
	r.post("/jobs/888888/reveal", nil).want(200, `"to": "bob@example.com"`, `"sent": "ann@example.com"`, "Hide personal data")
	if got, want := rows(), `ann dashboard reveal {"job": 888888, "what": "job"} done`; got != want {
		t.Errorf("the log has %s, want %s", got, want)
	}
	if log := r.get("/audit").want(200, "reveal"); !strings.Contains(log.body, `<a href="/jobs/888888">`) {
		t.Error("the row does not lead to the job")
	}
	r.post("/jobs/777777/reveal", nil).want(404, "The job has been removed")
	r.exec(`ALTER TABLE lumin.audit_log RENAME TO other`)
	r.post("/jobs/888888/reveal", nil).want(500).not("example.com")
}

// The job of a run leads to its event, which shows more than the job.
func TestJobOfRunHasNothingToReveal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "a", "book"))
	job := r.value(`SELECT job_id::text FROM lumin.runs`)
	if to := r.post("/jobs/"+job+"/reveal", nil).answered(303).header.Get("Location"); to != "/events/1" {
		t.Errorf("the job leads to %s", to)
	}
	if n := r.value(`SELECT count(*)::text FROM lumin.audit_log`); n != "0" {
		t.Errorf("%s rows in the audit log", n)
	}
}
