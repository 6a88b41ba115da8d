package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// begin opens a transaction that is rolled back at the end of the test.
func begin(tb testing.TB, s *store.Store) pgx.Tx {
	tb.Helper()
	tx, err := s.Pool().Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(tb.Context())) })
	return tx
}

// claim claims a run in its own transaction and commits.
func claim(tb testing.TB, s *store.Store, a store.Attempt) (event *store.Event, err error) {
	tb.Helper()
	tx := begin(tb, s)
	if event, err = s.ClaimTx(tb.Context(), tx, a); err == nil {
		err = tx.Commit(tb.Context())
	} else {
		_ = tx.Rollback(tb.Context())
	}
	return event, err
}

func TestClaim(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	id := recordAll(t, s, d)[0].EventID
	a := attempt(d, "book", 0)
	want := &store.Event{
		ID: id, Key: d.Key(), Source: "account", SignatureRequestID: "request-1", Type: d.Envelope.EventType,
		Time: d.Envelope.EventTime, Payload: d.Payload, Signature: d.Signature, ReceivedAt: d.ReceivedAt, JobKind: "book",
	}

	tx := begin(t, s)
	event, err := s.ClaimTx(t.Context(), tx, a)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(event, want) {
		t.Errorf("claimed %+v, want %+v", event, want)
	}
	wantState(t, s, d, "book", "pending 0") // as seen by other transactions
	if _, err := claim(t, s, a); !errors.Is(err, store.ErrRunLocked) {
		t.Errorf("claim beside a claim: %v", err)
	}
	if event, err := s.ReadRun(t.Context(), a); err != nil || !reflect.DeepEqual(event, want) {
		t.Errorf("read %+v, %v", event, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, d, "book", "pending 0")

	if _, err := claim(t, s, a); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, d, "book", "succeeded 0")
	if _, err := claim(t, s, a); !errors.Is(err, store.ErrRunSettled) {
		t.Errorf("claim after a claim: %v", err)
	}
	if _, err := s.ReadRun(t.Context(), a); !errors.Is(err, store.ErrRunSettled) {
		t.Errorf("read after a claim: %v", err)
	}
	if _, err := claim(t, s, attempt(d, "other", 0)); !errors.Is(err, store.ErrRunSettled) {
		t.Errorf("claim of an unknown run: %v", err)
	}
}

func TestClaimUnrecognized(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	d.Envelope = nil
	recordAll(t, s, d)
	event, err := claim(t, s, attempt(d, "book", 0))
	if err != nil {
		t.Fatal(err)
	}
	if event.SignatureRequestID != "" || event.Type != "" || !event.Time.IsZero() {
		t.Errorf("%+v", event)
	}
}

// A job may act on a run depending on the job's replay_id and the state of the
// run.
func TestReplayIDFencesJobs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cases := []struct {
		state       string
		runs, comes int64 // replay_ids of the run and of the job
		acts        bool
	}{
		{"pending", 0, 0, true},
		{"succeeded", 0, 0, false},
		{"failed", 0, 0, true}, // a job that still runs after a failure
		{"cancelled", 0, 0, true},
		{"pending", 5, 0, false},
		{"succeeded", 5, 0, false},
		{"failed", 5, 0, false},
		{"pending", 5, 4, false},
		{"pending", 5, 5, true},
		{"succeeded", 5, 5, false},
		{"succeeded", 5, 6, true},
		{"pending", 5, 6, true},
		{"failed", 5, 6, true},
	}
	for n, c := range cases {
		d := delivery(n, "claim", "read", "settle", "note")
		recordAll(t, s, d)
		exec(t, s.Pool(), `UPDATE lumin.runs SET state = $2, replay_id = $3, finished_at = CASE WHEN $2 <> 'pending' THEN now() END
			WHERE event_key = $1`, d.Key(), c.state, c.runs)
		before := fmt.Sprintf("%s %d", c.state, c.runs)
		after := before
		if c.acts {
			after = fmt.Sprintf("succeeded %d", c.comes)
		}
		t.Run(fmt.Sprintf("%s, job of %d", before, c.comes), func(t *testing.T) {
			for name, err := range map[string]error{
				"claim": second(claim(t, s, attempt(d, "claim", c.comes))),
				"read":  second(s.ReadRun(t.Context(), attempt(d, "read", c.comes))),
			} {
				if c.acts && err != nil || !c.acts && !errors.Is(err, store.ErrRunSettled) {
					t.Errorf("%s: %v", name, err)
				}
			}
			wantState(t, s, d, "claim", after)
			wantState(t, s, d, "read", before)
			if err := s.Settle(t.Context(), attempt(d, "settle", c.comes)); err != nil {
				t.Error(err)
			}
			wantState(t, s, d, "settle", after)
			if err := s.NoteAttempt(t.Context(), attempt(d, "note", c.comes), "oh"); err != nil {
				t.Error(err)
			}
			wantState(t, s, d, "note", before)
			noted := value[bool](t, s.Pool(), `SELECT coalesce(error = 'oh' AND attempts = 1 AND job_id = 77, false)
				FROM lumin.runs WHERE event_key = $1 AND job_kind = 'note'`, d.Key())
			if want := c.state == "pending" && c.comes == c.runs; noted != want {
				t.Errorf("attempt noted: %t, want %t", noted, want)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

func TestSettleStoresJob(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "claim", "settle")
	recordAll(t, s, d)
	for _, kind := range []string{"claim", "settle"} {
		if err := s.NoteAttempt(t.Context(), attempt(d, kind, 0), "first try"); err != nil {
			t.Fatal(err)
		}
	}
	last := func(kind string) store.Attempt {
		a := attempt(d, kind, 0)
		a.Number = 2
		return a
	}
	if err := s.Settle(t.Context(), last("settle")); err != nil {
		t.Fatal(err)
	}
	if _, err := claim(t, s, last("claim")); err != nil {
		t.Fatal(err)
	}
	whole := value[int](t, s.Pool(), `
		SELECT count(*) FROM lumin.runs WHERE state = 'succeeded' AND job_id = 77 AND attempts = 2 AND error IS NULL AND finished_at IS NOT NULL`)
	if whole != 2 {
		t.Errorf("%d runs name the job that settled them", whole)
	}
}

func TestEventGone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	exec(t, s.Pool(), `DELETE FROM lumin.events`)
	_, err := claim(t, s, attempt(d, "book", 0))
	wantError(t, err, store.ErrEventGone)
	_, err = s.ReadRun(t.Context(), attempt(d, "book", 0))
	wantError(t, err, store.ErrEventGone)
	wantState(t, s, d, "book", "pending 0")
}

func TestClaimsAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storeOn(t, pgtest.PoolOf(t, url, 8))
	for n := range 20 {
		d := delivery(n, "book")
		recordAll(t, s, d)
		var (
			mu     sync.Mutex
			claims int
			group  sync.WaitGroup
		)
		for range 8 {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				for {
					tx, err := s.Pool().Begin(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					_, err = s.ClaimTx(ctx, tx, attempt(d, "book", 0))
					if err == nil {
						err = tx.Commit(ctx)
						mu.Lock()
						claims++
						mu.Unlock()
					} else {
						_ = tx.Rollback(ctx)
					}
					switch {
					case errors.Is(err, store.ErrRunLocked):
						continue
					case err != nil && !errors.Is(err, store.ErrRunSettled):
						t.Error(err)
					}
					return
				}
			})
		}
		group.Wait()
		if claims != 1 {
			t.Fatalf("claimed %d times", claims)
		}
	}
}

// A claim does not wait for a locked run, and reports that it is locked.
func TestClaimDoesNotWait(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	exec(t, begin(t, s), `SELECT FROM lumin.runs FOR UPDATE`)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tx := begin(t, s)
	_, err := s.ClaimTx(ctx, tx, attempt(d, "book", 0))
	wantError(t, err, store.ErrRunLocked)
}

// A transaction begun in one round trip is as ClaimTx expects, whatever the
// defaults of the role. It is also returned together with an error.
func TestBeginClaim(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.Pool(t, storetest.WithSetting(t, pgtest.New(t), "default_transaction_isolation", "serializable")))
	d := delivery(1, "book")
	recordAll(t, s, d)
	begin := func() (pgx.Tx, *store.Event, error) {
		conn, err := s.Pool().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Release)
		return s.BeginClaim(t.Context(), conn.Conn(), attempt(d, "book", 0))
	}

	first, event, err := begin()
	if err != nil || event == nil || string(event.Payload) != string(d.Payload) {
		t.Fatalf("event %+v, error %v", event, err)
	}
	if level := value[string](t, first, `SHOW transaction_isolation`); level != "read committed" {
		t.Errorf("the transaction is %s", level)
	}
	second, _, err := begin()
	wantError(t, err, store.ErrRunLocked)
	if err := second.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	wantState(t, s, d, "book", "pending 0")
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, d, "book", "succeeded 0")
	if err := first.Rollback(t.Context()); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("rollback after the commit: %v", err)
	}
	third, _, err := begin()
	wantError(t, err, store.ErrRunSettled)
	if err := third.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}

// A COMMIT that rolls back, because a statement failed unnoticed, is an error.
func TestBeginClaimRolledBack(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	recordAll(t, s, d)
	conn, err := s.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	tx, _, err := s.BeginClaim(t.Context(), conn.Conn(), attempt(d, "book", 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1/0`); err == nil {
		t.Fatal("divided by zero")
	}
	wantError(t, tx.Commit(t.Context()), pgx.ErrTxCommitRollback)
	wantState(t, s, d, "book", "pending 0")
}
