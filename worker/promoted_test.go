package worker_test

import "testing"

// A promoted conflict gets its runs although lumin.job_types still has a job type that
// was removed from the program, and although the clock of the program that received
// the body is ahead.
func TestPromotedBesideRemovedJobType(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job, other := newBreakable("broken"), newBreakable("other")
	job.repaired.Store(true)
	other.repaired.Store(true)
	r.start(job, other)
	r.record(1, job, other)
	r.waitQuiet()
	r.exec(`INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('a_removed_one', '{}', '{}', true, 'default')`)
	r.exec(`INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, payload, signature, key_id, promoted_key, count, first_at, last_at)
		SELECT id, 'x', 'content', 'x', signature, key_id, gen_random_uuid(), 1, now() + interval '1 hour', now() + interval '1 hour' FROM lumin.events`)
	promoted := r.count(`SELECT lumin.promote_conflict(id, 'two signers')::int FROM lumin.events`)
	r.wait("the runs", func() bool {
		return r.count(`SELECT count(*) FROM lumin.runs WHERE event_id = $1 AND state = 'succeeded'`, promoted) == 2
	})
	r.wait("all orders to end", func() bool { return r.count(`SELECT count(*) FROM lumin.replays WHERE finished_at IS NULL`) == 0 })
	if r.effects("broken") != 2 || r.effects("other") != 2 {
		t.Errorf("%d and %d effects, want 2 each", r.effects("broken"), r.effects("other"))
	}
	if n := r.count(`SELECT count(*) FROM lumin.replays WHERE state = 'refused' AND job_kinds = '{a_removed_one}'`); n != 1 {
		t.Errorf("%d orders are refused for the removed job type, want 1", n)
	}
	again := r.count(`SELECT lumin.promote_conflict(id, 'two signers')::int FROM lumin.events WHERE id <> $1`, promoted)
	if n := r.count(`SELECT count(*) FROM lumin.replays`); again != promoted || n != 3 {
		t.Errorf("promoted again as event %d: %d orders", again, n)
	}
}
