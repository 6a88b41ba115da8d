package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// lane is a signature request of an ordered job type, with events 1 to n.
type lane struct {
	t          *testing.T
	store      *store.Store
	deliveries []store.Delivery
}

func newLane(t *testing.T, policy string, n int) *lane {
	t.Helper()
	l := &lane{t: t, store: newStore(t)}
	pgtest.Exec(t, l.store.Pool(), `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue, max_attempts, priority, when_failed)
		VALUES ('book', '{}', '{}', true, 'orders', 5, 2, $1)`, policy)
	for i := range n {
		d := delivery(i+1, "book")
		d.Envelope.SignatureRequestID = "request"
		l.deliveries = append(l.deliveries, d)
	}
	recordAll(t, l.store, l.deliveries...)
	return l
}

// claim begins the claim of event n: in its own job, or of the parked run
// without a job.
func (l *lane) claim(n int, own bool) (pgx.Tx, error) {
	l.t.Helper()
	conn := pgtest.Conn(l.t, l.store.Pool().Config().ConnString())
	a := attempt(l.deliveries[n-1], "book", 0)
	if !own {
		a.JobID = 0
	}
	tx, event, err := l.store.BeginOrderedClaim(l.t.Context(), conn, a)
	if err == nil && event.Time != l.deliveries[n-1].Envelope.EventTime {
		l.t.Errorf("claimed %+v", event)
	}
	return tx, err
}

func (l *lane) mustClaim(n int, own bool, want error) pgx.Tx {
	l.t.Helper()
	tx, err := l.claim(n, own)
	wantError(l.t, err, want)
	return tx
}

func (l *lane) commit(tx pgx.Tx) {
	l.t.Helper()
	if err := tx.Commit(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

// head returns the number of the head, and whether it is parked, such as "2 true".
func (l *lane) head() string {
	l.t.Helper()
	key := attempt(l.deliveries[0], "book", 0).EventKey
	head, err := l.store.Head(l.t.Context(), store.JobArgs{EventKey: key, JobKind: "book"})
	if err != nil {
		l.t.Fatal(err)
	}
	if head == nil {
		return "none"
	}
	n := slices.IndexFunc(l.deliveries, func(d store.Delivery) bool { return attempt(d, "book", 0).EventKey == head.EventKey })
	return fmt.Sprint(n+1, head.Parked)
}

func (l *lane) wantHead(want string) {
	l.t.Helper()
	if got := l.head(); got != want {
		l.t.Errorf("the head is %s, want %s", got, want)
	}
}

// A session reads the head after it has parked a run or released a lane.
// However these two interleave, one of them finds the parked head.
func TestParkedHeadIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(l *lane){
		"released before the park is visible": func(l *lane) {
			working := l.mustClaim(1, true, nil)
			parking := l.mustClaim(2, true, store.ErrLaneBusy)
			l.commit(working)
			l.wantHead("2 false") // the holder finds nothing to do
			l.commit(parking)
		},
		"released after the park is visible": func(l *lane) {
			working := l.mustClaim(1, true, nil)
			l.commit(l.mustClaim(2, true, store.ErrLaneBusy))
			l.wantHead("1 false") // the other finds nothing to do
			l.commit(working)
		},
		"rolled back by one that was not the head": func(l *lane) {
			l.commit(l.mustClaim(2, true, store.ErrNotHead))
			parking := l.mustClaim(2, false, store.ErrNotHead) // has the lock until it ends
			l.commit(l.mustClaim(1, true, store.ErrLaneBusy))
			l.wantHead("1 true")
			l.mustClaim(1, false, store.ErrLaneBusy)
			l.commit(parking)
			l.wantHead("1 true")
			l.commit(l.mustClaim(1, false, nil))
		},
		"released while another tries": func(l *lane) {
			l.commit(l.mustClaim(2, true, store.ErrNotHead))
			working := l.mustClaim(1, true, nil)
			l.mustClaim(2, false, store.ErrLaneBusy) // its transaction is still open
			l.commit(working)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLane(t, "hold", 2)
			test(l)
			l.wantHead("2 true")
			l.commit(l.mustClaim(2, false, nil))
			l.wantHead("none")
			wantState(t, l.store, l.deliveries[0], "book", "succeeded 0")
			wantState(t, l.store, l.deliveries[1], "book", "succeeded 0")
		})
	}
}

// A claim with a snapshot from before another session worked its run finds
// nothing to claim.
func TestOrderedClaimOfWorkedRun(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 2)
	l.commit(l.mustClaim(1, true, nil))
	l.commit(l.mustClaim(2, true, nil))
	l.mustClaim(2, true, store.ErrRunSettled)
	l.mustClaim(2, false, store.ErrRunSettled)
	l.mustClaim(1, false, store.ErrRunSettled)
}

func TestOrderedClaimAfterFailure(t *testing.T) {
	t.Parallel()
	for policy, want := range map[string]error{"hold": store.ErrNotHead, "skip": nil, "cancel": store.ErrLaneFailed} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			l := newLane(t, policy, 3)
			pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.river_job SET state = 'discarded', attempt = 3, finalized_at = now()
				WHERE id = (SELECT job_id FROM lumin.runs WHERE event_id = (SELECT min(id) FROM lumin.events))`)
			wantState(t, l.store, l.deliveries[0], "book", "failed 0")
			if got := value[int](t, l.store.Pool(), `SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_lane'`); (got == 1) != (policy != "hold") {
				t.Errorf("%d jobs wake the lane", got)
			}
			tx, err := l.claim(2, true)
			wantError(t, err, want)
			l.commit(tx)
			state := map[string]string{"hold": "parked 0", "skip": "succeeded 0", "cancel": "cancelled 0"}[policy]
			wantState(t, l.store, l.deliveries[1], "book", state)
		})
	}
}

// The program is killed after it has cancelled a run, and before River knows. The
// next attempt of the job neither cancels the run again nor works it, even if the
// earlier event has been replayed since. A replay works it.
func TestCancelledRunIsNotDecidedAgain(t *testing.T) {
	t.Parallel()
	l := newLane(t, "cancel", 2)
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.runs SET state = 'failed', finished_at = now() WHERE event_id = (SELECT min(id) FROM lumin.events)`)
	l.commit(l.mustClaim(2, true, store.ErrLaneFailed))
	l.commit(l.mustClaim(2, true, store.ErrRunSettled))
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.runs SET state = 'succeeded' WHERE event_id = (SELECT min(id) FROM lumin.events)`)
	for _, state := range []string{"cancelled", "dismissed"} {
		pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.runs SET state = $1 WHERE event_id = (SELECT max(id) FROM lumin.events)`, state)
		l.commit(l.mustClaim(2, true, store.ErrRunSettled))
		wantState(t, l.store, l.deliveries[1], "book", state+" 0")
	}
	if n := value[int](t, l.store.Pool(), `SELECT count(*) FROM lumin.failures`); n != 1 {
		t.Errorf("%d failures are stored, want 1", n)
	}
	conn := pgtest.Conn(t, l.store.Pool().Config().ConnString())
	tx, _, err := l.store.BeginOrderedClaim(t.Context(), conn, attempt(l.deliveries[1], "book", 3))
	wantError(t, err, nil)
	l.commit(tx)
	wantState(t, l.store, l.deliveries[1], "book", "succeeded 3")
}

// A run that is woken has the settings of its job type, and the attempts of its
// earlier jobs count.
func TestWake(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 2)
	run := attempt(l.deliveries[1], "book", 0)
	run.Number = 3
	conn := pgtest.Conn(t, l.store.Pool().Config().ConnString())
	tx, _, err := l.store.BeginOrderedClaim(t.Context(), conn, run)
	wantError(t, err, store.ErrNotHead)
	l.commit(tx)
	for _, want := range []bool{true, false} {
		if parked, err := l.store.Wake(t.Context(), run.JobArgs); err != nil || parked != want {
			t.Fatalf("parked %t, %v; want %t", parked, err, want)
		}
	}
	wantState(t, l.store, l.deliveries[1], "book", "pending 0")
	got := value[string](t, l.store.Pool(), `SELECT string_agg(concat_ws(' ', j.attempt, j.max_attempts, j.priority, j.queue, j.args ->> 'replay_id'), ', ')
		FROM lumin.runs r JOIN lumin.river_job j ON j.id = r.job_id WHERE r.event_key = $1`, [16]byte(run.EventKey))
	if got != "2 5 2 orders 0" {
		t.Errorf("its job is %s", got)
	}
	if n := value[int](t, l.store.Pool(), `SELECT count(*) FROM lumin.river_job`); n != 3 {
		t.Errorf("%d jobs", n)
	}
}

// While another transaction works a run, an attempt of its job neither parks the
// run nor ends: the run would stay without a job.
func TestRunAtWorkKeepsItsJob(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 1)
	first, err := l.claim(1, true)
	wantError(t, err, nil)
	second, err := l.claim(1, true)
	wantError(t, err, store.ErrRunLocked)
	l.commit(second)
	if err := first.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantState(t, l.store, l.deliveries[0], "book", "pending 0")
}

// A run that another job works next is not settled by the end of an old job.
func TestOldJobDoesNotSettleRun(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 1)
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.runs SET state = 'parked'`)
	old := value[int64](t, l.store.Pool(), `SELECT job_id FROM lumin.runs`)
	if _, err := l.store.Wake(t.Context(), attempt(l.deliveries[0], "book", 0).JobArgs); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now() WHERE id = $1`, old)
	sweep(t, l.store)
	wantState(t, l.store, l.deliveries[0], "book", "pending 0")
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now() WHERE id <> $1`, old)
	wantState(t, l.store, l.deliveries[0], "book", "failed 0")
}

// A run was parked and got another job after the sweep had read it.
func TestSweepOfRunWithAnotherJob(t *testing.T) {
	t.Parallel()
	l := newLane(t, "cancel", 1)
	old := value[int64](t, l.store.Pool(), `UPDATE lumin.runs SET state = 'parked' RETURNING job_id`)
	run := attempt(l.deliveries[0], "book", 0).JobArgs
	if _, err := l.store.Wake(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	settled := func() int {
		return value[int](t, l.store.Pool(), store.SweepOrphansSQL, [][16]byte{run.EventKey}, []string{"book"}, []int64{0}, []int64{old}, []int{0})
	}
	for _, state := range []string{"completed", "discarded"} {
		pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.river_job SET state = $1::text::lumin.river_job_state, finalized_at = now() WHERE id = $2`, state, old)
		if n := settled(); n != 0 {
			t.Errorf("%d runs settled while another job is live and the old one is %s", n, state)
		}
	}
	wantState(t, l.store, l.deliveries[0], "book", "pending 0")
	pgtest.Exec(t, l.store.Pool(), `DELETE FROM lumin.river_job`)
	if n := settled(); n != 1 {
		t.Errorf("%d runs settled without a job", n)
	}
}

// While another transaction has the row of a parked run, a job wakes it later.
func TestWakeOfLockedRun(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 1)
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.runs SET state = 'parked'`)
	tx := begin(t, l.store)
	storetest.Exec(t, tx, `SELECT FROM lumin.runs FOR UPDATE`)
	if parked, err := l.store.Wake(t.Context(), attempt(l.deliveries[0], "book", 0).JobArgs); err != nil || !parked {
		t.Fatalf("parked %t, %v", parked, err)
	}
	if got := value[int](t, l.store.Pool(), `SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_lane'`); got != 1 {
		t.Errorf("%d jobs wake the lane", got)
	}
}

// The sweep wakes each parked head, page by page, and no other run.
func TestSweepParked(t *testing.T) {
	t.Parallel()
	l := newLane(t, "hold", 3)
	other := []store.Delivery{delivery(10, "book"), delivery(11, "loose")}
	recordAll(t, l.store, other...)
	pgtest.Exec(t, l.store.Pool(), `UPDATE lumin.runs SET state = 'parked', pending_since = now() - interval '1 hour' + interval '1 s' * event_id`)
	woken, after := 0, time.Time{}
	for range 10 {
		n, next, err := l.store.SweepParkedPage(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		if woken, after = woken+n, next; next.IsZero() {
			break
		}
	}
	if woken != 3 || !after.IsZero() {
		t.Errorf("%d woken, next sweep after %s", woken, after)
	}
	for i, d := range append(slices.Clone(l.deliveries), other...) {
		wantState(t, l.store, d, map[bool]string{true: "loose", false: "book"}[i == 4], map[bool]string{true: "parked 0", false: "pending 0"}[i == 1 || i == 2])
	}
}
