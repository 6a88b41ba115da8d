package storetest

import (
	"testing"

	"lumin-ingest/store"
)

// Attempt is the first attempt at a run.
func Attempt(d store.Delivery, kind string) store.Attempt {
	return store.Attempt{JobArgs: store.JobArgs{EventKey: Key(d), JobKind: kind}, JobID: 77, Number: 1}
}

// Succeed claims a run with its job, in its own transaction, and commits, which
// settles it. It returns the error of the claim.
func Succeed(tb testing.TB, s *store.Store, d store.Delivery, kind string) error {
	tb.Helper()
	tx, a := Begin(tb, s), Attempt(d, kind)
	a.JobID = Value[int64](tb, s.Pool(), `SELECT coalesce(max(job_id), $3) FROM lumin.runs WHERE event_key = $1 AND job_kind = $2`,
		[16]byte(a.EventKey), kind, a.JobID)
	if _, err := s.ClaimTx(tb.Context(), tx, a); err != nil {
		return err
	}
	return tx.Commit(tb.Context())
}

// FailAll makes every job in the queue fail for good.
func FailAll(tb testing.TB, s *store.Store) {
	tb.Helper()
	Exec(tb, s.Pool(), `
		UPDATE lumin.river_job SET state = 'discarded', attempt = 1, finalized_at = now(),
		    errors = ARRAY[jsonb_build_object('error', 'of replay ' || (args ->> 'replay_id'))]
		WHERE state = 'available' AND kind <> 'lumin_replay'`)
}

// WantState checks the state and the replay id of a run, such as "pending 0".
func WantState(tb testing.TB, s *store.Store, d store.Delivery, kind, want string) {
	tb.Helper()
	got := Value[string](tb, s.Pool(), `SELECT state || ' ' || replay_id FROM lumin.runs WHERE event_key = $1 AND job_kind = $2`,
		[16]byte(Key(d)), kind)
	if got != want {
		tb.Errorf("run of %s is %s, want %s", kind, got, want)
	}
}
