package workertest_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/workertest"
)

func post(ctx context.Context, url, key string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, http.NoBody)
	if err != nil {
		return err
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", response.Status)
	}
	return nil
}

func TestTwice(t *testing.T) {
	t.Parallel()
	t.Run("transactional", func(t *testing.T) {
		t.Parallel()
		db := workertest.NewDatabase(t, effectsTable)
		result := workertest.Twice(t, db, inserts(), workertest.Event{}, count(t, db))
		workertest.Succeeded(t, result)
		if result.Calls != 2 {
			t.Errorf("%d calls, want one that crashes and another one", result.Calls)
		}
		var redelivered, sources int
		if err := db.Pool.QueryRow(t.Context(), `SELECT coalesce(sum(count), 0), (SELECT count(*) FROM lumin.events) FROM lumin.redeliveries`).Scan(&redelivered, &sources); err != nil || redelivered != 1 || sources != 2 {
			t.Errorf("%d redeliveries, events of %d sources, %v", redelivered, sources, err)
		}
		var jobAttempts int
		if err := db.Pool.QueryRow(t.Context(), `SELECT attempt FROM lumin.river_job WHERE kind = 'tx_job'`).Scan(&jobAttempts); err != nil || jobAttempts != 3 {
			t.Errorf("%d attempts of the job, %v: want one after its success", jobAttempts, err)
		}
	})
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		outside := workertest.NewOutside(t)
		job := &plainJob{work: func(ctx context.Context, e *worker.Event, call int) error {
			if call == 1 {
				return errNo // the job is retried
			}
			return post(ctx, outside.URL, e.IdempotencyKey())
		}}
		result := workertest.Twice(t, workertest.NewDatabase(t), job, workertest.Event{}, outside.Effects)
		workertest.Succeeded(t, result)
		if result.Calls != 3 || outside.Requests() != 2 {
			t.Errorf("%d calls, %d requests", result.Calls, outside.Requests())
		}
	})
	t.Run("one source", func(t *testing.T) {
		t.Parallel()
		outside := workertest.NewOutside(t)
		db := workertest.NewDatabase(t)
		job := crmOnly{&plainJob{work: func(ctx context.Context, e *worker.Event, _ int) error {
			return post(ctx, outside.URL, e.IdempotencyKey())
		}}}
		workertest.Twice(t, db, job, workertest.Event{Source: "app:crm"}, outside.Effects)
		var source string
		if err := db.Pool.QueryRow(t.Context(), `SELECT source FROM lumin.events ORDER BY id DESC LIMIT 1`).Scan(&source); err != nil || source != "app:shop" {
			t.Errorf("the other source was %s, %v", source, err)
		}
	})
}

// Twice finds each kind of broken job type.
func TestTwiceFinds(t *testing.T) {
	t.Parallel()
	type broken struct {
		job     func(db *workertest.Database, outside *workertest.Outside, memory *atomic.Int32) worker.JobType
		effects string // empty: rows
		want    string
	}
	plainly := func(work func(ctx context.Context, url string, e *worker.Event, call int) error) func(*workertest.Database, *workertest.Outside, *atomic.Int32) worker.JobType {
		return func(_ *workertest.Database, outside *workertest.Outside, _ *atomic.Int32) worker.JobType {
			return &plainJob{work: func(ctx context.Context, e *worker.Event, call int) error { return work(ctx, outside.URL, e, call) }}
		}
	}
	const rolledBack, calledAgain = "has an effect although its transaction was rolled back", "had a second effect when it was called again after a crash"
	for name, test := range map[string]broken{
		"past the transaction": {job: func(db *workertest.Database, _ *workertest.Outside, _ *atomic.Int32) worker.JobType {
			return &txJob{work: func(ctx context.Context, _ pgx.Tx, e *worker.Event, _ int) error { return insert(ctx, db.Pool, e) }}
		}, want: rolledBack},
		"a commit of its own": {job: func(*workertest.Database, *workertest.Outside, *atomic.Int32) worker.JobType {
			return &txJob{work: func(ctx context.Context, tx pgx.Tx, e *worker.Event, _ int) error {
				if err := insert(ctx, tx, e); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, `COMMIT`)
				return err
			}}
		}, want: rolledBack},
		"in memory": {job: func(_ *workertest.Database, _ *workertest.Outside, memory *atomic.Int32) worker.JobType {
			return &txJob{work: func(context.Context, pgx.Tx, *worker.Event, int) error { memory.Add(1); return nil }}
		}, effects: "memory", want: rolledBack},
		"no key": {job: plainly(func(ctx context.Context, url string, _ *worker.Event, _ int) error {
			return post(ctx, url, "")
		}), effects: "outside", want: calledAgain},
		"a key of the attempt": {job: plainly(func(ctx context.Context, url string, e *worker.Event, call int) error {
			return post(ctx, url, fmt.Sprint(e.IdempotencyKey(), call))
		}), effects: "outside", want: calledAgain},
		"another request": {job: plainly(func(ctx context.Context, url string, e *worker.Event, call int) error {
			return post(ctx, fmt.Sprint(url, "/", call), e.IdempotencyKey())
		}), effects: "outside", want: "this run is failed"},
		"rows of a plain one": {job: func(db *workertest.Database, _ *workertest.Outside, _ *atomic.Int32) worker.JobType {
			return &plainJob{work: func(ctx context.Context, e *worker.Event, _ int) error { return insert(ctx, db.Pool, e) }}
		}, want: calledAgain},
		"no effect": {job: func(*workertest.Database, *workertest.Outside, *atomic.Int32) worker.JobType {
			return &txJob{work: func(context.Context, pgx.Tx, *worker.Event, int) error { return nil }}
		}, want: "effects shows no effect of tx_job"},
		"a failure": {job: func(*workertest.Database, *workertest.Outside, *atomic.Int32) worker.JobType {
			return &plainJob{work: func(context.Context, *worker.Event, int) error { return errNo }}
		}, want: "Twice needs a run that succeeds, and this run is failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, outside, memory := workertest.NewDatabase(t, effectsTable), workertest.NewOutside(t), &atomic.Int32{}
			effects := map[string]func() any{
				"":        func() any { return count(t, db)() },
				"memory":  func() any { return memory.Load() },
				"outside": func() any { return outside.Effects() },
			}[test.effects]
			got := failures(t, func(t testing.TB) {
				workertest.Twice(t, db, test.job(db, outside, memory), workertest.Event{}, effects)
			})
			if !strings.Contains(got, test.want) {
				t.Errorf("said %q, want %q", got, test.want)
			}
		})
	}
}

// Twice finds an effect of each repetition.
func TestTwiceFindsRepetitions(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`SELECT sum(count) FROM lumin.redeliveries`:                      "the event was delivered again",
		`SELECT count(*) FROM lumin.events`:                              "app:other reported the event as well",
		`SELECT sum(attempt) FROM lumin.river_job WHERE kind = 'tx_job'`: "its job ran again",
	} {
		db := workertest.NewDatabase(t, effectsTable)
		got := failures(t, func(t testing.TB) {
			workertest.Twice(t, db, inserts(), workertest.Event{Type: lumin.SignatureRequestApproved}, func() (n [2]int) {
				n[0] = count(t, db)()
				if n[0] > 0 {
					_ = db.Pool.QueryRow(t.Context(), sql).Scan(&n[1]) // NULL at first
				}
				return n
			})
		})
		if !strings.Contains(got, want) {
			t.Errorf("said %q, want %q", got, want)
		}
	}
}

func TestOutside(t *testing.T) {
	t.Parallel()
	o := workertest.NewOutside(t)
	o.Next(http.StatusTooManyRequests, "Retry-After", "7")
	response, err := http.Post(o.URL+"/a?b=c", "text/plain", strings.NewReader("body"))
	if err != nil || response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") != "7" {
		t.Fatal(response, err)
	}
	if len(o.Effects()) > 0 || o.Requests() != 1 {
		t.Errorf("effects %v of %d requests", o.Effects(), o.Requests())
	}
	for range 2 {
		if _, err := http.Post(o.URL+"/a?b=c", "text/plain", strings.NewReader("body")); err != nil {
			t.Fatal(err)
		}
	}
	want := workertest.Effect{Method: "POST", Path: "/a?b=c", Body: "body"}
	if got := o.Effects(); len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("effects %v", got)
	}
}

// refusing is a job type that refuses recovered events.
type refusing struct{ *txJob }

func (refusing) Recovered() bool { return false }

func TestTwiceWithRecoveredEvent(t *testing.T) {
	t.Parallel()
	db := workertest.NewDatabase(t, effectsTable)
	recovered := workertest.Event{Recovered: true}
	result := workertest.Twice(t, db, inserts(), recovered, count(t, db))
	workertest.Succeeded(t, result)
	if e := result.Event; !e.Recovered || e.Source != "recovered" || len(e.Signature) != 0 || !strings.Contains(string(e.Payload), `"recovered":{`) {
		t.Errorf("event %+v", e)
	}
	const repeatedSQL = `SELECT string_agg(differs || ' ' || count, ', ' ORDER BY differs) FROM lumin.redeliveries`
	var repeated string
	if err := db.Pool.QueryRow(t.Context(), repeatedSQL).Scan(&repeated); err != nil || repeated != "nothing 1, recovered 1" {
		t.Errorf("redeliveries %q, %v: want the second is the original", repeated, err)
	}
	got := failures(t, func(t testing.TB) { db.Run(t, refusing{inserts()}, recovered) })
	if !strings.Contains(got, "refuses recovered events") {
		t.Errorf("failures %q", got)
	}
}
