package worker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// batchJob is a batch job type made of a function. Each call inserts one effect
// for each event first.
type batchJob struct {
	worker.Defaults
	kind    string
	queue   string // "": the default
	limits  worker.BatchLimits
	timeout time.Duration // 0: the default
	work    func(ctx context.Context, tx pgx.Tx, events []*worker.Event) error

	mu    sync.Mutex
	calls [][]lumin.EventKey
	odd   []string // what is wrong with the events of a call
}

func (j *batchJob) Kind() string                    { return j.kind }
func (*batchJob) Events() []lumin.EventType         { return []lumin.EventType{lumin.AnyEvent} }
func (*batchJob) MaxAttempts() int                  { return 2 }
func (*batchJob) Backoff(int) time.Duration         { return time.Millisecond }
func (j *batchJob) BatchLimits() worker.BatchLimits { return j.limits }

func (j *batchJob) Queue() string {
	if j.queue != "" {
		return j.queue
	}
	return j.Defaults.Queue()
}

func (j *batchJob) Timeout() time.Duration {
	if j.timeout > 0 {
		return j.timeout
	}
	return j.Defaults.Timeout()
}

func (j *batchJob) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	j.note(events)
	for _, e := range events {
		if err := addEffect(ctx, tx, j.kind, e, ""); err != nil {
			return err
		}
	}
	if j.work == nil {
		return nil
	}
	return j.work(ctx, tx, events)
}

func (j *batchJob) note(events []*worker.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var keys []lumin.EventKey
	for i, e := range events {
		if i > 0 && slices.Compare(keys[i-1][:], e.Key[:]) >= 0 {
			j.odd = append(j.odd, fmt.Sprintf("event %d of %d does not come after the one before", i, len(events)))
		}
		if e.JobKind != j.kind || e.Payload == nil || e.SignatureRequestID == "" {
			j.odd = append(j.odd, fmt.Sprintf("%+v", e))
		}
		keys = append(keys, e.Key)
	}
	j.calls = append(j.calls, keys)
}

// sizes returns the sizes of the batches, in the order of the calls.
func (j *batchJob) sizes() (sizes []int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, keys := range j.calls {
		sizes = append(sizes, len(keys))
	}
	return sizes
}

func (j *batchJob) check(t *testing.T) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.odd) > 0 {
		t.Errorf("%d odd batches, such as: %s", len(j.odd), j.odd[0])
	}
}

// checkOnce fails the test unless each event had one effect in its first
// attempt.
func (r *rig) checkOnce(kind string, events int) {
	r.t.Helper()
	if all, distinct := r.effects(kind), r.count(`SELECT count(DISTINCT event_key) FROM shop.effects WHERE kind = $1`, kind); all != events || distinct != events {
		r.t.Errorf("%s: %d effects of %d events, want %d", kind, all, distinct, events)
	}
	if n := r.count(`SELECT count(*) FROM lumin.runs WHERE job_kind = $1 AND state = 'succeeded' AND attempts = 1 AND error IS NULL AND job_id IS NOT NULL`, kind); n != events {
		r.t.Errorf("%s: %d runs succeeded in the first attempt, want %d", kind, n, events)
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &batchJob{kind: "Many-events"}
	r.recordMany(1, 1000, job)
	r.start(job)
	r.waitQuiet()
	r.checkOnce(job.kind, 1000)
	job.check(t)
	if sizes := job.sizes(); len(sizes) > 250 || slices.Max(sizes) < 16 || slices.Max(sizes) > 64 {
		t.Errorf("sizes of the batches: %v", sizes)
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = $1 AND queue = 'many-events' AND errors IS NULL AND state = 'completed'`, job.kind); n != 1000 {
		t.Errorf("%d jobs completed in the job type's own queue", n)
	}
	if n := r.count(`SELECT count(*) FROM lumin.job_types WHERE kind = $1 AND queue = 'many-events' AND transactional`, job.kind); n != 1 {
		t.Error("not registered as a transactional job type with its queue")
	}
}

// gathered starts a Runtime and lets all events but one become one batch.
func (r *rig) gathered(job *batchJob, events int) []lumin.EventKey {
	r.t.Helper()
	release := make(chan struct{})
	work := job.work
	var first sync.Once
	job.work = func(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
		first.Do(func() { <-release })
		if work == nil || len(events) == 1 && events[0].SignatureRequestID == "request-0" {
			return nil
		}
		return work(ctx, tx, events)
	}
	job.limits.Slots = events + 1
	job.limits.Flushers = 1
	rt := r.start(job)
	r.record(0, job)
	r.wait("the first call", func() bool { return len(job.sizes()) == 1 })
	keys := r.recordMany(1, events, job)
	r.wait("all jobs to run", func() bool {
		busy := 0
		for _, l := range rt.Load() {
			if l.Queue == job.kind {
				busy = l.Busy
			}
		}
		return busy == events+1
	})
	<-time.After(200 * time.Millisecond) // from the middleware to the coalescer
	close(release)
	return keys
}

// A job of a batch may have a run that is settled, locked, or without an event,
// or a second job in the same batch.
func TestBatchMembersTurnedAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &batchJob{kind: "members", limits: worker.BatchLimits{Slots: 40}}
	keys := r.recordMany(1, 20, job)
	gone, locked, settled := [16]byte(keys[0]), [16]byte(keys[1]), [16]byte(keys[2])
	r.exec(`DELETE FROM lumin.events WHERE event_key = $1`, gone)
	r.exec(`UPDATE lumin.runs SET state = 'succeeded', finished_at = now(), attempts = 1, job_id = 1 WHERE event_key = $1`, settled)
	r.exec(`INSERT INTO lumin.river_job (args, kind, max_attempts, queue) SELECT args, kind, max_attempts, queue FROM lumin.river_job`)
	tx, err := r.pool.Begin(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(r.ctx)
	if _, err := tx.Exec(r.ctx, `SELECT FROM lumin.runs WHERE event_key = $1 FOR UPDATE`, locked); err != nil {
		t.Fatal(err)
	}
	r.start(job)
	r.wait("the others", func() bool { return r.effects(job.kind) == 17 })
	r.wait("the snooze of the locked run's jobs", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE (metadata ->> 'snoozes')::int > 0 AND args ->> 'event_key' = $1`, keys[1].String()) == 2
	})
	if err := tx.Commit(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.waitQuiet()
	job.check(t)
	if n := r.effects(job.kind); n != 18 {
		t.Errorf("%d effects, want 18", n)
	}
	if got := r.run(job.kind, keys[0]); got.State != "cancelled" || !strings.Contains(got.Error, "the event of the run is gone") {
		t.Errorf("without its event: %+v", got)
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = $1 AND state = 'completed' AND errors IS NULL`, job.kind); n != 38 {
		t.Errorf("%d jobs completed without an error, want 38: %v", n, r.rows(`SELECT state, errors, count(*) FROM lumin.river_job GROUP BY 1, 2`))
	}
}

// An attempt that is cancelled from outside does not take the others of its
// batch with it.
func TestBatchMemberCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	victim := make(chan lumin.EventKey, 1)
	var cancel sync.Once
	job := &batchJob{kind: "cancels"}
	job.work = func(ctx context.Context, _ pgx.Tx, events []*worker.Event) error {
		cancel.Do(func() {
			key := events[len(events)/2].Key
			victim <- key
			id := r.count(`SELECT id FROM lumin.river_job WHERE args ->> 'event_key' = $1`, key.String())
			if _, err := outsideClient(r).JobCancel(r.ctx, int64(id)); err != nil {
				r.t.Error(err)
			}
			<-ctx.Done()
		})
		return ctx.Err()
	}
	r.gathered(job, 30)
	r.waitQuiet()
	if got := r.run(job.kind, <-victim); got.State != "cancelled" || got.JobState != "cancelled" {
		t.Errorf("%+v", got)
	}
	r.checkOnce(job.kind, 30) // of 31
}

// A stop interrupts a batch. No attempt of its events counts.
func TestBatchInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &batchJob{kind: "interrupted"}
	job.work = func(ctx context.Context, _ pgx.Tx, _ []*worker.Event) error {
		<-ctx.Done()
		return errNo
	}
	r.recordMany(1, 30, job)
	rt := r.start(job)
	r.wait("a call", func() bool { return len(job.sizes()) > 0 })
	r.stop(rt)
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = $1 AND attempt = 0 AND errors IS NULL AND state = 'available'`, job.kind); n != 30 {
		t.Errorf("%d of 30 jobs are as before: %v", n, r.rows(`SELECT state, attempt, errors FROM lumin.river_job LIMIT 5`))
	}
	job.work = nil
	r.start(job)
	r.waitQuiet()
	r.checkOnce(job.kind, 30)
}

// An older program has put jobs of the kind into the default queue.
func TestBatchJobsInDefaultQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &batchJob{kind: "was_ordinary"}
	r.recordMany(1, 10, job)
	r.exec(`UPDATE lumin.river_job SET queue = 'default'`)
	r.start(job)
	r.waitQuiet()
	r.checkOnce(job.kind, 10)
}

// River's metadata belongs to one job, so a batch has none. It has the queue
// client.
func TestBatchContext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &batchJob{kind: "context"}
	job.work = func(ctx context.Context, _ pgx.Tx, _ []*worker.Event) error {
		worker.Logger(ctx).Info("from the batch")
		if river.RecordOutput(ctx, "x") == nil || river.MetadataSet(ctx, "x", "x") == nil {
			return errNo
		}
		_, err := river.ClientFromContextSafely[pgx.Tx](ctx)
		return err
	}
	r.gathered(job, 5)
	r.waitQuiet()
	r.checkOnce(job.kind, 6)
	if want := `"msg":"from the batch","kind":"context","events":5`; !strings.Contains(r.logs.String(), want) {
		t.Errorf("the log has no %s", want)
	}
}

func TestBatchRefused(t *testing.T) {
	t.Parallel()
	for want, types := range map[string][]worker.JobType{
		"BatchLimits.Slots is -1: give 1 to 1000, or 0 for 64":     {&batchJob{kind: "ab", limits: worker.BatchLimits{Slots: -1}}},
		"BatchLimits.Size is 1001: give 1 to 1000, or 0 for 128":   {&batchJob{kind: "ab", limits: worker.BatchLimits{Size: 1001}}},
		"BatchLimits.Flushers is 65: give 1 to the number":         {&batchJob{kind: "ab", limits: worker.BatchLimits{Flushers: 65}}},
		`Queue is "ab", like that of worker_test.inQueue: a`:       {newInQueue("ab", nil), &batchJob{kind: "ab"}},
		`Queue is "ab", like that of *worker_test.batchJob: a`:     {&batchJob{kind: "ab"}, newInQueue("ab", nil)},
		`Queue is "x", like that of *worker_test.batchJob: a`:      {&batchJob{kind: "ab", queue: "x"}, &batchJob{kind: "cd", queue: "x"}},
		`Queue is "a__b": give at most 64 lower-case letters`:      {&batchJob{kind: "a__b"}},
		"job type *worker_test.batchJob is nil: add a value":       {(*batchJob)(nil)},
		`Kind is taken by *worker_test.batchJob: kinds are stored`: {&batchJob{kind: "ab"}, &batchJob{kind: "ab", queue: "x"}},
	} {
		if err := registryOf(types...).Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestBatchConnections(t *testing.T) {
	t.Parallel()
	registry := registryOf(newTxJob("tx", nil), &batchJob{kind: "ab"})
	for slots, want := range map[int]int{0: 7 + 1 + 2, 256: 7 + 2 + 2, 129: 7 + 2 + 2} {
		cfg := worker.Config{Registry: registry, MaxWorkers: 7}
		if slots > 0 {
			cfg.Queues = map[string]int{"ab": slots}
		}
		if got := cfg.JobConnections(); got != want {
			t.Errorf("%d slots: %d connections, want %d", slots, got, want)
		}
	}
}
