package pages_test

import "testing"

// aReplay stores a replay of 8 failed runs and the runs that it has made pending: 2
// cancelled, 1 failed, 4 dismissed, and 1 that replay 2 has taken.
func (r *rig) aReplay(state string, withdrawn int) {
	r.Helper()
	r.exec(`INSERT INTO lumin.replays (status, state, planned, enqueued, withdrawn, started_at, enqueued_at, finished_at)
		VALUES ('failed', $1, 8, 8, $2, now(), now(), now())`, state, withdrawn)
	r.exec(`
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, replay_id, job_id, finished_at)
		SELECT gen_random_uuid(), 'book', n, CASE WHEN n < 3 THEN 'cancelled' WHEN n = 3 THEN 'failed' ELSE 'dismissed' END, n / 8 + 1, n, now()
		FROM generate_series(1, 8) n`)
}

// A replay that is done stays at 100 %, whatever becomes of its runs later.
func TestReplayStaysDone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.aReplay("done", 0)
	r.get("/replays/1").want(200, "8 of 8 runs have ended (100 %)", "1 failed again", "4 are dismissed .", "1 was replayed again later, or removed with the event.",
		"8, of which 1 was replayed again later or removed").not("pending again")

	r = newRig(t)
	r.aReplay("done", 0)
	r.exec(`UPDATE lumin.runs SET state = 'pending', finished_at = NULL WHERE state = 'failed'`)
	r.get("/replays/1").want(200, "8 of 8 runs have ended (100 %)", "1 is pending again, because the job was retried in River.")
}

// Runs that a cancel has restored do not count as failed by the replay.
func TestReplayThatIsCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.aReplay("cancelled", 1)
	r.exec(`UPDATE lumin.runs SET job_id = NULL WHERE state = 'failed'`)
	r.get("/replays/1").want(200, "7 of 7 runs have ended (100 %)", "8, of which 1 was restored, and 1 was replayed again later").not("failed again")

	r = newRig(t)
	r.aReplay("cancelled", 8)
	r.exec(`UPDATE lumin.runs SET state = 'failed', job_id = NULL, replay_id = 1`)
	r.get("/replays/1").want(200, "All its runs were restored.").not("failed again")
}
