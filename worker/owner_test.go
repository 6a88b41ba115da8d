package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// nowhere is the URL of a server that refuses connections.
const nowhere = "postgres://127.0.0.1:1/x"

// startBehind starts a Runtime whose connections lead through a proxy.
func (r *rig) startBehind(proxy *pgproxy.Proxy, registry *worker.Registry) *worker.Runtime {
	r.t.Helper()
	pool, err := pgopen.Pool(r.ctx, proxy.URL(), pgopen.Options{MaxConns: 12, Writes: true, IdleInTransaction: registry.LongestAttempt()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(pool.Close)
	direct := r.store
	defer func() { r.store = direct }()
	if r.store, err = store.New(pool, r.logger); err != nil {
		r.t.Fatal(err)
	}
	return r.startRegistry(worker.Config{MaxWorkers: 8}.Quick(200*time.Millisecond), registry)
}

// waiter blocks the first call of each job type until it is released.
type waiter struct {
	waiting atomic.Int32
	release chan struct{}
}

func (w *waiter) wait(first bool) {
	if first {
		w.waiting.Add(1)
		<-w.release
	}
}

// When a program is killed, its connections end. Another one runs its jobs again
// within seconds, long before River's rescue. The attempt does not count, even if
// it was the last one.
func TestJobsOfKilledProgram(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	w := &waiter{release: make(chan struct{})}
	tx := newTxJob("tx", func(_ context.Context, _ pgx.Tx, call int) error { w.wait(call == 1); return nil })
	tx.attempts = 1
	plain := newPlainJob("plain", func(_ context.Context, _ *worker.Event, call int) error { w.wait(call == 1); return nil })
	var batches atomic.Int32
	batch := &batchJob{kind: "batch", work: func(context.Context, pgx.Tx, []*worker.Event) error { w.wait(batches.Add(1) == 1); return nil }}
	ordered := &orderedJob{kind: "ordered", attempts: 1, work: func(_ context.Context, _ pgx.Tx, e *worker.Event, call int) error {
		w.wait(call == 1 && nameOf(e) == "a/1")
		return nil
	}}
	registry := func() *worker.Registry {
		registry := registryOf(tx, plain, batch)
		registry.AddOrdered(ordered)
		return registry
	}
	proxy := pgtest.Proxy(t, r.url)
	cutOff := r.startBehind(proxy, registry())
	key := r.record(1, tx, plain, batch)
	r.recordLane(ordered, "a", 1, 2)
	r.wait("the calls", func() bool { return w.waiting.Load() == 4 })
	r.wait("the second event of the lane", func() bool { return r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'parked'`) > 0 })
	r.startRegistry(worker.Config{MaxWorkers: 8}.Quick(200*time.Millisecond), registry())
	if err := proxy.SetTarget(nowhere); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	start := time.Now()
	r.wait("all runs to succeed", func() bool { return r.count(`SELECT count(*) FROM lumin.runs WHERE state <> 'succeeded'`) == 0 })
	t.Logf("taken up after %s", time.Since(start).Round(100*time.Millisecond))
	for _, kind := range []string{"tx", "plain", "batch"} {
		if got := r.run(kind, key); got.Attempts != 1 || got.JobTries != 1 || len(got.JobErrors) != 0 || got.Failures != 0 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if tx, batch, ordered := r.effects("tx"), r.effects("batch"), r.count(`SELECT count(*) FROM shop.sequence`); tx != 1 || batch != 1 || ordered != 2 {
		t.Errorf("%d, %d and %d effects", tx, batch, ordered)
	}
	// It was not killed after all, only cut off.
	if err := proxy.SetTarget(r.url); err != nil {
		t.Fatal(err)
	}
	close(w.release)
	r.stop(cutOff)
	if tx, batch, ordered := r.effects("tx"), r.effects("batch"), r.count(`SELECT count(*) FROM shop.sequence`); tx != 1 || batch != 1 || ordered != 2 {
		t.Errorf("after the end of the first calls: %d, %d and %d effects", tx, batch, ordered)
	}
}

// ownerOf returns the owner of the only running job of a kind.
func (r *rig) ownerOf(kind string) string {
	r.t.Helper()
	return pgtest.Value[string](r.t, r.pool, `SELECT attempted_by[cardinality(attempted_by)] FROM lumin.river_job WHERE kind = $1 AND state = 'running'`, kind)
}

// sessionOf returns the process id of the session that has the lock of an owner.
const sessionOf = `SELECT coalesce(max(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1
	AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND (classid::bigint << 32) | objid::bigint = hashtextextended($1, 0)`

// A program whose lock session ends gets another one before others give back its
// jobs.
func TestLockSessionEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := &waiter{release: make(chan struct{})}
	job := newTxJob("tx", func(_ context.Context, _ pgx.Tx, call int) error { w.wait(call == 1); return nil })
	r.start(job)
	r.record(1, job)
	r.wait("the call", func() bool { return w.waiting.Load() == 1 })
	r.start(job) // it would give the job back, and take it
	owner := r.ownerOf("tx")
	before := r.count(sessionOf, owner)
	if !strings.HasSuffix(owner, store.OwnerMark) || before == 0 {
		t.Fatalf("owner %s has session %d", owner, before)
	}
	if !pgtest.Value[bool](t, pgtest.Pool(t, pgtest.AdminURL(t, r.url)), `SELECT pg_terminate_backend($1)`, before) {
		t.Fatal("the session was not ended")
	}
	start := time.Now()
	r.wait("another session", func() bool { now := r.count(sessionOf, owner); return now != 0 && now != before })
	if took := time.Since(start); took > worker.LostAfter-worker.LookEvery {
		t.Errorf("locked again after %s", took)
	}
	close(w.release)
	r.waitQuiet()
	if n, given := r.effects("tx"), r.count(`SELECT count(*) FROM lumin.river_job WHERE metadata ? 'lumin:given_back'`); n != 1 || given != 0 {
		t.Errorf("%d effects, and %d jobs were given back", n, given)
	}
}

// A program whose lock session has gone silent ends it, and has the lock again long
// before the server would notice.
func TestLockSessionIsSilent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxy := pgtest.Proxy(t, r.url)
	pool, err := pgopen.Pool(t.Context(), proxy.URL(), pgopen.Options{MaxConns: 2, Writes: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := store.New(pool, r.logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.StartOwner(t.Context(), s, r.logger, "self"))
	const owner = "self" + store.OwnerMark
	before := r.count(sessionOf, owner)
	if before == 0 {
		t.Fatal("no session has the lock")
	}
	proxy.Silence()
	if !wait.For(worker.OwnerSilence-10*time.Second, func() bool { now := r.count(sessionOf, owner); return now != 0 && now != before }) {
		t.Fatalf("session %d has the lock, and %d had it before", r.count(sessionOf, owner), before)
	}
}

// A look that the server cancels does not cost the program its lock.
func TestLookCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := &waiter{release: make(chan struct{})}
	job := newTxJob("tx", func(_ context.Context, _ pgx.Tx, call int) error { w.wait(call == 1); return nil })
	r.start(job)
	r.record(1, job)
	r.wait("the call", func() bool { return w.waiting.Load() == 1 })
	owner := r.ownerOf("tx")
	session := r.count(sessionOf, owner)
	release := pgtest.Hold(t, r.url, `LOCK TABLE lumin.river_job`)
	cancelled := wait.For(10*time.Second, func() bool {
		return r.count(`SELECT count(*) FROM pg_stat_activity WHERE CASE WHEN pid = $1 AND wait_event_type = 'Lock' THEN pg_cancel_backend(pid) END`, session) == 1
	})
	release()
	if !cancelled {
		t.Fatal("no look was cancelled")
	}
	r.wait("the log", func() bool { return strings.Contains(r.logs.String(), "was cancelled, because it took too long") })
	if now := r.count(sessionOf, owner); now != session {
		t.Errorf("session %d had the lock, and now %d", session, now)
	}
	close(w.release)
	r.waitQuiet()
}

// A session with a server that has become read-only is given up.
func TestLockOnReadOnlyServer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	config := r.pool.Config()
	var readOnly atomic.Bool
	readOnly.Store(true)
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf(`SET default_transaction_read_only = %t`, readOnly.Load()))
		return err
	}
	pool, err := pgopen.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := store.New(pool, r.logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.StartOwner(t.Context(), s, r.logger, "self"))
	r.wait("the log", func() bool { return strings.Contains(r.logs.String(), pgopen.ErrReadOnly.Error()) })
	readOnly.Store(false)
	r.wait("the lock", func() bool { return strings.Contains(r.logs.String(), "this program holds its lock again") })
	session := r.count(sessionOf, "self"+store.OwnerMark)
	r.wait("another look", func() bool {
		return r.count(`SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'idle' AND query LIKE '%river_job%'`, session) == 1
	})
}

// Jobs may be given back although their program works them, if its lock was lost
// for too long. Then a transactional job type takes effect once. A program also
// gives back its own jobs that it does not know, because the answer to a fetch was
// lost, also if it did not hold its lock then. It keeps those that it works, however long they take.
func TestGivenBackWhileWorking(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := &waiter{release: make(chan struct{})}
	first := func(_ context.Context, _ pgx.Tx, call int) error { w.wait(call == 1); return nil }
	lost, held := newTxJob("lost", first), newTxJob("held", first)
	unknown, unlocked := newTxJob("unknown", nil), newTxJob("unlocked", nil)
	lost.timeout, held.timeout = time.Minute, time.Minute // River's rescue does not interfere
	r.start(lost, held)
	r.record(1, lost, held, unknown, unlocked)
	r.wait("the calls", func() bool { return w.waiting.Load() == 2 })
	owner := r.ownerOf("held")
	r.start(lost)
	r.exec(`UPDATE lumin.river_job SET attempted_by = '{gone/locked}' WHERE kind = 'lost'`)
	r.exec(`UPDATE lumin.river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = ARRAY[$1] WHERE kind = 'unknown'`, owner)
	r.exec(`UPDATE lumin.river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = ARRAY[$1] WHERE kind = 'unlocked'`,
		strings.TrimSuffix(owner, store.OwnerMark))
	r.wait("the jobs to be given back", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind IN ('lost', 'unknown', 'unlocked') AND metadata ? 'lumin:given_back'`) == 3
	})
	if got := r.rows(`SELECT state, attempt FROM lumin.river_job WHERE kind IN ('unknown', 'unlocked')`); fmt.Sprint(got) != "[available 0 available 0]" {
		t.Errorf("the unknown jobs: %s", got)
	}
	if got := r.rows(`SELECT state, attempt, metadata FROM lumin.river_job WHERE kind = 'held'`); fmt.Sprint(got) != "[running 1 map[]]" {
		t.Errorf("the job at work: %s", got)
	}
	r.wait("another attempt", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'lost' AND cardinality(attempted_by) > 1`) == 1
	})
	close(w.release)
	r.wait("the runs", func() bool {
		return r.count(`SELECT count(*) FROM lumin.runs r JOIN lumin.river_job j ON j.id = r.job_id
			WHERE r.state = 'succeeded' AND j.state = 'completed'`) == 2
	})
	if n := r.effects("lost"); n != 1 {
		t.Errorf("%d effects", n)
	}
	if held.calls.Load() != 1 {
		t.Errorf("%d calls of a job that was not lost", held.calls.Load())
	}
}

// Behind a connection pooler a session may change, so nothing depends on a lock.
func TestNoLockBehindPooler(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := &waiter{release: make(chan struct{})}
	job := newTxJob("tx", func(_ context.Context, _ pgx.Tx, call int) error { w.wait(call == 1); return nil })
	proxy := pgtest.Proxy(t, r.url)
	proxy.ActAsPooler()
	r.startBehind(proxy, registryOf(job))
	r.record(1, job)
	r.wait("the call", func() bool { return w.waiting.Load() == 1 })
	if owner := r.ownerOf("tx"); strings.HasSuffix(owner, store.OwnerMark) {
		t.Errorf("the owner is %s", owner)
	}
	r.wait("the log", func() bool { return strings.Contains(r.logs.String(), "this program holds no lock") })
	close(w.release)
	r.waitQuiet()
}

// An owner is given five seconds to take its lock again, and more after an outage
// that may have hit everyone. A program knows better about its own jobs, but not
// before each fetch is answered.
func TestDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := worker.NewOwner("self", time.Minute)
		if o.Due("gone", 4*time.Second) || !o.Due("gone", 6*time.Second) {
			t.Error("without an outage")
		}
		recovered := worker.NewOwner("self", 10*time.Second)
		if recovered.Due("gone", 6*time.Second) || !recovered.Due("self", 6*time.Second) {
			t.Error("soon after an outage")
		}
		fetched := o.Fetching()
		if !o.Due("self", 6*time.Second) {
			t.Error("a fetch that began later does not matter")
		}
		time.Sleep(10 * time.Second)
		if o.Due("self", 6*time.Second) || !o.Due("gone", 6*time.Second) {
			t.Error("during a fetch")
		}
		fetched([]*rivertype.JobRow{{ID: 1}, {ID: 2}})
		o.Ending(1)()
		if !o.Due("self", 6*time.Second) || !slices.Equal(o.Held(), []int64{2}) {
			t.Errorf("after the fetch: held are %d", o.Held())
		}
	})
}

// A program whose session was ended takes its lock again before its jobs are given
// back, even if looks take long or the lock is not free at once.
func TestOwnerPauses(t *testing.T) {
	t.Parallel()
	o := worker.NewOwner("self", time.Minute)
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: worker.LookEvery, 25 * time.Millisecond: 1250 * time.Millisecond, time.Minute: worker.LongestPause,
	} {
		if got := o.Pause(true, took); got != want {
			t.Errorf("%s after a look of %s", got, took)
		}
	}
	if got := o.Pause(false, time.Minute); got != worker.LockPause {
		t.Errorf("%s without the lock", got)
	}
	if worker.LongestPause+2*worker.LockPause+worker.LockTimeout >= worker.LostAfter {
		t.Error("a program may be too late to take its lock again")
	}
}

// A job that was fetched again before the end of its first attempt was noted is
// held.
func TestFetchedAgain(t *testing.T) {
	t.Parallel()
	o := worker.NewOwner("self", time.Minute)
	jobs := []*rivertype.JobRow{{ID: 1}, {ID: 2}}
	o.Fetching()(jobs)
	ended := o.Ending(1, 2)
	o.Fetching()(jobs[:1])
	ended()
	if held := o.Held(); !slices.Equal(held, []int64{1}) {
		t.Errorf("held are %d", held)
	}
}
