package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/store"
)

// finalize ends the jobs of an event as River does.
func finalize(tb testing.TB, s *store.Store, d store.Delivery, state string, errs ...string) {
	tb.Helper()
	list := []map[string]any{}
	for i, e := range errs {
		list = append(list, map[string]any{"at": time.Now(), "attempt": i + 1, "error": e, "trace": ""})
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Second) // it must not wait
	defer cancel()
	_, err := s.Pool().Exec(ctx, `
		UPDATE lumin.river_job SET state = $2::text::lumin.river_job_state, attempt = $3, errors = $4::jsonb[],
		    finalized_at = CASE WHEN $2 IN ('discarded', 'cancelled', 'completed') THEN now() END
		WHERE args ->> 'event_key' = $1`, d.Envelope.Key().String(), state, len(errs), list)
	if err != nil {
		tb.Fatal(err)
	}
}

func sweep(tb testing.TB, s *store.Store) (settled int) {
	tb.Helper()
	late, position, err := s.SweepEnded(tb.Context(), store.EndedPosition{})
	if err != nil || position != (store.EndedPosition{}) {
		tb.Fatalf("the next sweep starts at %+v, %v", position, err)
	}
	settled, next, err := s.Sweep(tb.Context(), time.Time{})
	if err != nil {
		tb.Fatal(err)
	}
	if !next.IsZero() {
		tb.Errorf("the next sweep starts at %s", next)
	}
	return late + settled
}

// age makes pending runs pending for a while.
func age(tb testing.TB, s *store.Store) {
	tb.Helper()
	exec(tb, s.Pool(), `UPDATE lumin.runs SET pending_since = now() - interval '2 minutes' WHERE state = 'pending'`)
}

// failures lists the stored final failures, oldest first, such as "failed 0 3
// [error 1, ...]".
func failures(tb testing.TB, s *store.Store) []string {
	tb.Helper()
	rows, err := s.Pool().Query(tb.Context(), `
		SELECT state || ' ' || replay_id || ' ' || attempts || ' [' ||
		    (SELECT coalesce(string_agg(e ->> 'error', ', '), '') FROM unnest(errors) e) || ']'
		FROM lumin.failures ORDER BY id`)
	if err != nil {
		tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

func wantFailures(tb testing.TB, s *store.Store, want ...string) {
	tb.Helper()
	got := failures(tb, s)
	slices.Sort(got) // runs that one statement settles have no order
	slices.Sort(want)
	if !slices.Equal(got, want) {
		tb.Errorf("failures %q, want %q", got, want)
	}
}

func TestFinalFailure(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{"discarded": "failed", "cancelled": "cancelled"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			d := delivery(1, "book")
			recordAll(t, s, d, delivery(2, "book"))
			finalize(t, s, d, "retryable", "one")
			wantState(t, s, d, "book", "pending 0")
			finalize(t, s, d, state, "one", "two")
			wantState(t, s, d, "book", want+" 0")
			wantState(t, s, delivery(2), "book", "pending 0")
			wantFailures(t, s, want+" 0 2 [one, two]")
			whole := value[bool](t, s.Pool(), `
				SELECT r.error = 'two' AND r.attempts = 2 AND r.finished_at IS NOT NULL
				       AND r.job_id = j.id AND f.job_id = j.id AND f.event_key = r.event_key AND f.job_kind = 'book'
				FROM lumin.runs r, lumin.failures f, lumin.river_job j
				WHERE r.event_key = $1 AND j.args ->> 'event_key' = r.event_key::text`, d.Key())
			if !whole {
				t.Error("run or failure lacks a value")
			}
			// A second report changes nothing.
			finalize(t, s, d, state, "one", "two")
			if n := sweep(t, s); n != 0 {
				t.Errorf("%d runs settled again", n)
			}
			wantFailures(t, s, want+" 0 2 [one, two]")
		})
	}
}

// A job without any error, such as one that was cancelled before it began.
func TestCancelledBeforeStart(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'cancelled', finalized_at = now()`)
	wantState(t, s, d, "book", "cancelled 0")
	wantFailures(t, s, "cancelled 0 0 []")
}

func TestSucceededRunDoesNotFail(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d, replayed := delivery(1, "book"), delivery(2, "book")
	recordAll(t, s, d, replayed)
	if err := s.Settle(t.Context(), attempt(d, "book", 0)); err != nil {
		t.Fatal(err)
	}
	exec(t, s.Pool(), `UPDATE lumin.runs SET replay_id = 4 WHERE event_key = $1`, replayed.Key())
	finalize(t, s, d, "discarded", "late")
	finalize(t, s, replayed, "discarded", "of an older order")
	wantState(t, s, d, "book", "succeeded 0")
	wantState(t, s, replayed, "book", "pending 4")
	if n := sweep(t, s); n != 0 {
		t.Errorf("%d runs settled", n)
	}
	wantFailures(t, s)
}

// A job that is revived in River belongs to a pending run again, and may fail
// for good a second time.
func TestRevivedJob(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	finalize(t, s, d, "discarded", "one")
	exec(t, s.Pool(), `UPDATE lumin.runs SET job_id = NULL`)
	finalize(t, s, d, "available", "one")
	wantState(t, s, d, "book", "pending 0")
	if !value[bool](t, s.Pool(), `SELECT r.job_id = j.id FROM lumin.runs r, lumin.river_job j`) {
		t.Error("the run does not know its job")
	}
	finalize(t, s, d, "running", "one")
	finalize(t, s, d, "discarded", "one", "two")
	wantState(t, s, d, "book", "failed 0")
	wantFailures(t, s, "failed 0 1 [one]", "failed 0 2 [one, two]")

	finalize(t, s, d, "available", "one", "two")
	if _, err := claim(t, s, attempt(d, "book", 0)); err != nil {
		t.Fatal(err)
	}
	finalize(t, s, d, "completed", "one", "two")
	finalize(t, s, d, "available", "one", "two") // completed jobs can be revived too
	wantState(t, s, d, "book", "succeeded 0")
}

// The trigger does not wait for a locked run, because River finishes many jobs
// with one statement. The sweep settles the run later.
func TestFailureOfLockedRun(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	held, free := delivery(1, "book"), delivery(2, "book")
	recordAll(t, s, held, free)
	tx := begin(t, s)
	exec(t, tx, `SELECT FROM lumin.runs WHERE event_key = $1 FOR UPDATE`, held.Key())
	finalize(t, s, held, "discarded", "held")
	finalize(t, s, free, "discarded", "free")
	wantState(t, s, held, "book", "pending 0")
	wantState(t, s, free, "book", "failed 0")
	if n := sweep(t, s); n != 0 {
		t.Errorf("%d runs settled while locked", n)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sweep(t, s); n != 1 {
		t.Errorf("%d runs settled, want 1", n)
	}
	wantState(t, s, held, "book", "failed 0")
	wantFailures(t, s, "failed 0 1 [free]", "failed 0 1 [held]")
}

// No program swept for over an hour. The run gets the state and errors of its job.
func TestFailureIsFoundLate(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cancelled, discarded := delivery(1, "book"), delivery(2, "book")
	recordAll(t, s, cancelled, discarded)
	tx := begin(t, s)
	exec(t, tx, `SELECT FROM lumin.runs FOR UPDATE`)
	finalize(t, s, cancelled, "cancelled", "one")
	finalize(t, s, discarded, "discarded", "one", "two")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, s.Pool(), `UPDATE lumin.river_job SET finalized_at = now() - interval '2 hours'`)
	age(t, s)
	if n := sweep(t, s); n != 2 {
		t.Errorf("%d runs settled, want 2", n)
	}
	wantState(t, s, cancelled, "book", "cancelled 0")
	wantState(t, s, discarded, "book", "failed 0")
	wantFailures(t, s, "cancelled 0 1 [one]", "failed 0 2 [one, two]")
}

// River's table may hold jobs of any origin.
func TestForeignJobs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	good := delivery(1, "book")
	recordAll(t, s, good)
	key := good.Envelope.Key().String()
	tx := begin(t, s)
	exec(t, tx, `SELECT FROM lumin.runs FOR UPDATE`)
	for _, args := range []string{
		`{}`, `[]`, `null`, `"event_key"`, `5`, `["event_key", "replay_id"]`,
		`{"event_key": "not a uuid", "replay_id": 0}`,
		`{"event_key": null, "replay_id": null}`,
		`{"event_key": {"a": 1}, "replay_id": [0]}`,
		`{"event_key": "` + key + `"}`,
		`{"event_key": "` + key + `", "replay_id": "0"}`,
		`{"event_key": "` + key + `", "replay_id": 0.5}`,
		`{"event_key": "` + key + `", "replay_id": 1e400}`,
		`{"event_key": "` + key + `", "replay_id": -1}`,
		`{"event_key": "` + key + `", "replay_id": 99999999999999999999}`,
		`{"event_key": "{` + key + `}", "replay_id": 0}`,
	} {
		for _, kind := range []string{"book", "theirs"} {
			exec(t, s.Pool(), `INSERT INTO lumin.river_job (args, kind, max_attempts, attempt) VALUES ($1::text::jsonb, $2, 1, 1)`, args, kind)
		}
	}
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now()`)
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'available', finalized_at = NULL WHERE kind = 'theirs'`)
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'cancelled', finalized_at = now() WHERE kind = 'theirs'`)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := sweep(t, s); n != 1 {
		t.Errorf("%d runs settled, want 1", n)
	}
	wantState(t, s, good, "book", "failed 0")
	wantFailures(t, s, "failed 0 0 []")
}

func TestOrphans(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	orphan, alive, young, completed := delivery(1, "book"), delivery(2, "book"), delivery(3, "book"), delivery(4, "book")
	recordAll(t, s, orphan, alive, completed)
	age(t, s)
	recordAll(t, s, young)
	exec(t, s.Pool(), `DELETE FROM lumin.river_job WHERE args ->> 'event_key' IN ($1, $2)`,
		orphan.Envelope.Key().String(), young.Envelope.Key().String())
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'completed', finalized_at = now() WHERE args ->> 'event_key' = $1`, completed.Envelope.Key().String())
	if err := s.NoteAttempt(t.Context(), attempt(orphan, "book", 0), "first try"); err != nil {
		t.Fatal(err)
	}
	if n := sweep(t, s); n != 2 {
		t.Errorf("%d runs settled, want 2", n)
	}
	wantState(t, s, orphan, "book", "failed 0")
	wantState(t, s, completed, "book", "failed 0")
	wantState(t, s, alive, "book", "pending 0")
	wantState(t, s, young, "book", "pending 0")
	wantFailures(t, s, "failed 0 0 [its job is gone from the queue]", "failed 0 1 [its job is gone from the queue]")
	if job := value[int64](t, s.Pool(), `SELECT job_id FROM lumin.runs WHERE event_key = $1`, orphan.Key()); job != 77 {
		t.Errorf("the run forgot its job: %d", job)
	}
}

// Programs of the version before this one insert runs without the id of their
// job. The sweep finds such a job by its arguments.
func TestOrphansOfOlderProgram(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	orphan, alive, known := delivery(1, "book"), delivery(2, "book"), delivery(3, "book")
	recordAll(t, s, orphan, alive, known)
	exec(t, s.Pool(), `UPDATE lumin.runs SET job_id = NULL WHERE event_key <> $1`, known.Key())
	exec(t, s.Pool(), `DELETE FROM lumin.river_job WHERE args ->> 'event_key' <> $1`, alive.Envelope.Key().String())
	age(t, s)
	if n := sweep(t, s); n != 2 {
		t.Errorf("%d runs settled, want 2", n)
	}
	wantState(t, s, orphan, "book", "failed 0")
	wantState(t, s, known, "book", "failed 0")
	wantState(t, s, alive, "book", "pending 0")
}

// A job that is not the run's own does not keep a run pending, even if the run
// has its id.
func TestOrphanWithForeignJob(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d, other := delivery(1, "book"), delivery(2, "book")
	recordAll(t, s, d, other)
	exec(t, s.Pool(), `UPDATE lumin.runs SET job_id = (SELECT job_id FROM lumin.runs WHERE event_key = $1)`, other.Key())
	age(t, s)
	if n := sweep(t, s); n != 1 {
		t.Errorf("%d runs settled, want 1", n)
	}
	wantState(t, s, d, "book", "failed 0")
	wantState(t, s, other, "book", "pending 0")
}

// The sweep must know all of River's states. It would fail a run whose job is
// in an unknown state.
func TestSweepKnowsStates(t *testing.T) {
	t.Parallel()
	states := value[string](t, newStore(t).Pool(), `SELECT array_to_string(array(SELECT unnest(enum_range(NULL::lumin.river_job_state))::text ORDER BY 1), ' ')`)
	if states != "available cancelled completed discarded pending retryable running scheduled" {
		t.Errorf("River has the states %s: check sweepOrphansSQL and the trigger on lumin.river_job", states)
	}
}

// A job of an older order does not hide an orphaned run.
func TestOrphanOfReplay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d) // with a live job of replay 0
	exec(t, s.Pool(), `UPDATE lumin.runs SET replay_id = 3`)
	age(t, s)
	if n := sweep(t, s); n != 1 {
		t.Errorf("%d runs settled, want 1", n)
	}
	wantState(t, s, d, "book", "failed 3")
}

// Each page continues where the previous one ended. It passes runs that became
// pending at the same time, whatever their number.
func TestSweepPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var all []store.Delivery
	for n := range 30 {
		all = append(all, delivery(n, "book"))
	}
	recordAll(t, s, all[:20]...) // all at the same time
	age(t, s)
	recordAll(t, s, all[20:]...)
	exec(t, s.Pool(), `UPDATE lumin.runs SET pending_since = now() - interval '90 seconds' + interval '1 ms' * attempts
		WHERE pending_since > now() - interval '1 minute'`)
	exec(t, s.Pool(), `DELETE FROM lumin.river_job WHERE args ->> 'event_key' = $1`, all[29].Envelope.Key().String())
	settled, pages := 0, 0
	for after := (time.Time{}); ; pages++ {
		n, next, err := s.SweepPage(t.Context(), after, 3)
		if err != nil {
			t.Fatal(err)
		}
		settled += n
		if next.IsZero() {
			break
		}
		if !next.After(after) || pages > 20 {
			t.Fatalf("page %d continues at %s after %s", pages, next, after)
		}
		after = next
	}
	if settled != 1 || pages < 2 {
		t.Errorf("%d runs settled in %d pages", settled, pages)
	}
	wantState(t, s, all[29], "book", "failed 0")
}
