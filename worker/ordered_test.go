package worker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// orderedJob is an ordered job type made of a function. Each call that succeeds
// adds a row to shop.sequence.
type orderedJob struct {
	worker.Defaults
	kind     string
	policy   worker.LanePolicy
	attempts int           // 0: 2
	timeout  time.Duration // 0: the default
	work     func(ctx context.Context, tx pgx.Tx, e *worker.Event, n int) error

	mu      sync.Mutex
	calls   map[string]int  // by name of the event, such as "a/1"
	working map[string]bool // by signature request
	odd     []string
}

func (j *orderedJob) Kind() string                  { return j.kind }
func (*orderedJob) Events() []lumin.EventType       { return []lumin.EventType{lumin.AnyEvent} }
func (*orderedJob) Backoff(int) time.Duration       { return time.Millisecond }
func (j *orderedJob) WhenFailed() worker.LanePolicy { return j.policy }

func (j *orderedJob) MaxAttempts() int {
	if j.attempts > 0 {
		return j.attempts
	}
	return 2
}

func (j *orderedJob) Timeout() time.Duration {
	if j.timeout > 0 {
		return j.timeout
	}
	return j.Defaults.Timeout()
}

// laneStart is the time of event 0 of each signature request.
const laneStart = 1694664207595

func nameOf(e *worker.Event) string {
	return fmt.Sprintf("%s/%d", e.SignatureRequestID, e.Time.UnixMilli()-laneStart)
}

func (j *orderedJob) begin(e *worker.Event) (call int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.calls == nil {
		j.calls, j.working = map[string]int{}, map[string]bool{}
	}
	if j.working[e.SignatureRequestID] {
		j.odd = append(j.odd, nameOf(e)+" while another event is worked")
	}
	j.working[e.SignatureRequestID] = true
	j.calls[nameOf(e)]++
	return j.calls[nameOf(e)]
}

func (j *orderedJob) end(e *worker.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.working[e.SignatureRequestID] = false
}

func (j *orderedJob) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	call := j.begin(e)
	defer j.end(e)
	_, err := tx.Exec(ctx, `INSERT INTO shop.sequence (kind, request, event) VALUES ($1, $2, $3)`,
		j.kind, e.SignatureRequestID, e.Time.UnixMilli()-laneStart)
	if err != nil || j.work == nil {
		return err
	}
	return j.work(ctx, tx, e, call)
}

func (j *orderedJob) callsOf(event string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.calls[event]
}

// newLaneRig is newRig with the table of ordered job types.
func newLaneRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.exec(`CREATE TABLE shop.sequence (n bigserial, kind text, request text, event bigint)`)
	return r
}

func orderedRegistry(jobs ...*orderedJob) *worker.Registry {
	registry := worker.NewRegistry()
	for _, j := range jobs {
		registry.AddOrdered(j)
	}
	return registry
}

func (r *rig) startOrdered(jobs ...*orderedJob) *worker.Runtime {
	r.t.Helper()
	return r.startRegistry(worker.Config{MaxWorkers: 16}.Quick(200*time.Millisecond), orderedRegistry(jobs...))
}

// waitSwept waits until the sweep at the start is over. The next one comes half a
// minute later, after the end of a test, so it heals nothing that a test looks for.
func (r *rig) waitSwept() {
	r.t.Helper()
	r.wait("the first sweep", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_sweep' AND state = 'completed'`) > 0
	})
}

// recordLane records events of a signature request, each alone and in the given
// order.
func (r *rig) recordLane(job *orderedJob, request string, events ...int) {
	r.t.Helper()
	recorder := store.NewRecorder(r.store, r.logger, nil)
	defer recorder.Close()
	jobs := orderedRegistry(job).Route("account", lumin.SignatureRequestApproved)
	for _, n := range events {
		_, err := recorder.Record(r.ctx, store.Delivery{
			Source: "account", Signature: make([]byte, 32), KeyID: "k", ReceivedAt: time.Now(), Jobs: jobs, Payload: []byte(`{}`),
			Envelope: laneEvent(request, n),
		})
		if err != nil {
			r.t.Error(err)
		}
	}
}

func laneEvent(request string, n int) *lumin.Envelope {
	return &lumin.Envelope{SignatureRequestID: request, EventType: lumin.SignatureRequestApproved, EventTime: time.UnixMilli(laneStart + int64(n))}
}

// worked returns the events of a signature request that took effect, in order.
func (r *rig) worked(job *orderedJob, request string) string {
	r.t.Helper()
	rows, err := r.pool.Query(r.ctx, `SELECT coalesce(string_agg(event::text, ' ' ORDER BY n), '') FROM shop.sequence WHERE kind = $1 AND request = $2`, job.kind, request)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *rig) waitWorked(job *orderedJob, request, want string) {
	r.t.Helper()
	r.wait(request+" to be worked as "+want, func() bool { return r.worked(job, request) == want })
}

// states returns the state of each run of a signature request, in order.
func (r *rig) states(job *orderedJob, request string) string {
	r.t.Helper()
	rows, err := r.pool.Query(r.ctx, `SELECT coalesce(string_agg(r.state, ' ' ORDER BY e.event_time, e.event_key), '')
		FROM lumin.runs r JOIN lumin.events e ON e.id = r.event_id WHERE r.job_kind = $1 AND e.signature_request_id = $2`, job.kind, request)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

func (r *rig) waitStates(job *orderedJob, request, want string) {
	r.t.Helper()
	r.wait(request+" to be "+want, func() bool { return r.states(job, request) == want })
}

// waitLanes waits until no run is pending or parked.
func (r *rig) waitLanes() {
	r.t.Helper()
	r.wait("all runs to end", func() bool {
		return r.count(`SELECT count(*) FROM lumin.runs WHERE state IN ('pending', 'parked')`) == 0
	})
	r.waitQuiet()
}

// checkOrder fails the test unless each event had one effect, in the order of
// time, and the code never ran on two events of a signature request at once.
func (r *rig) checkOrder(job *orderedJob, events int) {
	r.t.Helper()
	if n := r.count(`SELECT count(*) FROM shop.sequence WHERE kind = $1`, job.kind); n != events {
		r.t.Errorf("%d effects, want %d", n, events)
	}
	if n := r.count(`SELECT count(*) FROM (SELECT event, lag(event) OVER (PARTITION BY request ORDER BY n) AS before FROM shop.sequence WHERE kind = $1) s
		WHERE before >= event`, job.kind); n != 0 {
		r.t.Errorf("%d events out of order", n)
	}
	job.mu.Lock()
	defer job.mu.Unlock()
	if len(job.odd) > 0 {
		r.t.Errorf("%d times: %s", len(job.odd), job.odd[0])
	}
}

// fillLanes stores lanes of events, whose jobs are in a random order.
func (r *rig) fillLanes(job *orderedJob, lanes, events int) {
	r.t.Helper()
	order := rand.Perm(lanes * events)
	r.exec(`
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT md5($3::text || ' ' || n)::uuid, 'account', 'r' || n % $2::int, 'x', to_timestamp($4::bigint / 1000.0) + interval '1 ms' * n, '{}', '\x00', '\x00', 'k', now()
		    FROM unnest($1::int[]) n RETURNING id, event_key
		), r AS (
		    INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id)
		    SELECT event_key, $3, id, nextval('lumin.river_job_id_seq') FROM e RETURNING *
		)
		INSERT INTO lumin.river_job (id, args, kind, max_attempts, queue)
		SELECT job_id, jsonb_build_object('event_key', event_key, 'replay_id', 0), $3, 2, 'default' FROM r`,
		order, lanes, job.kind, int64(laneStart))
}

func TestOrdered(t *testing.T) {
	t.Parallel()
	for _, lanes := range []int{3, 100} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			t.Parallel()
			r := newLaneRig(t)
			job := &orderedJob{kind: "ordered"}
			r.fillLanes(job, lanes, 1200/lanes)
			r.startOrdered(job)
			r.waitLanes()
			r.checkOrder(job, 1200/lanes*lanes)
			if n := r.count(`SELECT count(*) FROM lumin.runs WHERE state <> 'succeeded' OR attempts <> 1 OR job_id IS NULL OR error IS NOT NULL`); n != 0 {
				t.Errorf("%d runs did not succeed in the first attempt", n)
			}
			if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'ordered' AND (state <> 'completed' OR errors IS NOT NULL)`); n != 0 {
				t.Errorf("%d jobs did not complete", n)
			}
		})
	}
}

func TestOrderedPolicies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		policy         worker.LanePolicy
		worked, states string
	}{
		{worker.HoldLane, "1", "succeeded failed parked parked"},
		{worker.SkipFailed, "1 3 4", "succeeded failed succeeded succeeded"},
		{worker.CancelRest, "1", "succeeded failed cancelled cancelled"},
	} {
		t.Run(test.policy.String(), func(t *testing.T) {
			t.Parallel()
			r := newLaneRig(t)
			job := &orderedJob{kind: "ordered", policy: test.policy, work: func(_ context.Context, _ pgx.Tx, e *worker.Event, _ int) error {
				if nameOf(e) == "a/2" {
					return worker.JobFail(errNo)
				}
				return nil
			}}
			r.recordLane(job, "a", 4, 2, 3, 1)
			r.recordLane(job, "b", 2, 1)
			r.startOrdered(job)
			r.waitStates(job, "a", test.states)
			r.waitWorked(job, "b", "1 2")
			if got := r.worked(job, "a"); got != test.worked {
				t.Errorf("worked %q, want %q", got, test.worked)
			}
			if got := r.rows(`SELECT state, attempts FROM lumin.failures WHERE state = 'failed'`); len(got) != 1 || got[0] != "failed 1" {
				t.Errorf("failures %v", got)
			}
		})
	}
}
