package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/catalog"
)

// Plan counts the runs that an order would make pending now, by job type.
type Plan []PlannedRuns

// PlannedRuns counts the runs of one job type.
type PlannedRuns struct {
	Kind       string // empty: events decoded from unrecognized ones
	Runs       int64
	FirstEvent *time.Time    // received
	LastEvent  *time.Time    // received
	Estimate   time.Duration // at the rate of the last jobs of this kind; 0 if there are none
}

// Runs counts the runs of all job types.
func (p Plan) Runs() (n int64) {
	for _, of := range p {
		n += of.Runs
	}
	return n
}

// Plan counts the runs that an order with this filter would make pending now.
func (s *Store) Plan(ctx context.Context, f Filter) (Plan, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if f.Status == Unrecognized {
		return s.planUnrecognized(ctx, f)
	}
	plan, err := s.planRuns(ctx, f, withBody)
	if err != nil {
		return nil, err
	}
	return plan, s.estimate(ctx, plan)
}

// Excluded counts runs that match a filter but that a replay excludes.
type Excluded struct {
	Bodiless  int64 // retention or an erasure has removed the body of their event
	Dismissed int64
}

// Excluded counts the runs that a replay with this filter excludes.
func (s *Store) Excluded(ctx context.Context, f Filter) (Excluded, error) {
	switch f.Status {
	case "", Failed:
		f.Status = dismissed
		plan, err := s.planRuns(ctx, f, withBody)
		return Excluded{Dismissed: plan.Runs()}, err
	case Succeeded, Cancelled, Missing:
		plan, err := s.planRuns(ctx, f, withoutBody)
		return Excluded{Bodiless: plan.Runs()}, err
	}
	return Excluded{}, nil
}

func (s *Store) planRuns(ctx context.Context, f Filter, b body) (plan Plan, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, query.ReadCommitted, func(tx pgx.Tx) (err error) {
		if f.Status == Missing {
			plan, err = planMissing(ctx, tx, f, b)
		} else {
			plan, err = readPlan(ctx, tx, planRunsSQL(f.runs(b)), f.args())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("plan replay: %w", err)
	}
	return plan, nil
}

// planMissing counts one job type after the other. The planner gets each
// subscription as parameters, which makes the count several times as fast as a
// join with the job types.
func planMissing(ctx context.Context, tx pgx.Tx, f Filter, b body) (Plan, error) {
	types, err := query.Rows(ctx, tx, "load job types", func(row pgx.CollectableRow) (t catalog.JobType, err error) {
		return t, row.Scan(&t.Kind, &t.Events, &t.Sources)
	}, `SELECT kind, events, sources FROM lumin.job_types WHERE kind = ANY ($1) ORDER BY kind`, f.Kinds)
	if err != nil {
		return nil, err
	}
	var all Plan
	for _, t := range types {
		args := f.args()
		args["type_kind"], args["type_events"], args["type_sources"] = t.Kind, t.Events, t.Sources
		some, err := readPlan(ctx, tx, planMissingSQL(f, b), args)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func planRunsSQL(runs selection) string {
	return planSQL("SELECT r.job_kind AS kind, count(*) AS n, min(r.event_id) AS first_id, max(r.event_id) AS last_id", runs)
}

// planMissingSQL counts distinct event keys, because the copies of an event
// share a run.
func planMissingSQL(f Filter, b body) string {
	runs := f.missing(`CROSS JOIN (SELECT @type_kind::text AS kind, @type_events::text[] AS events, @type_sources::text[] AS sources) t`, b).
		and(`NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind)`)
	return planSQL("SELECT t.kind, count(DISTINCT e.event_key) AS n, min(e.id) AS first_id, max(e.id) AS last_id", runs)
}

// planSQL finds the first and last event by their ids, which grow with time. A
// plan for all runs therefore does not read the events.
func planSQL(counts string, runs selection) string {
	return `WITH p AS (
    ` + counts + `
    ` + runs.SQL(4) + `
    GROUP BY 1
)
SELECT p.kind, p.n, (SELECT received_at FROM lumin.events WHERE id = p.first_id),
       (SELECT received_at FROM lumin.events WHERE id = p.last_id)
FROM p ORDER BY 1`
}

func readPlan(ctx context.Context, tx pgx.Tx, sql string, args pgx.NamedArgs) (Plan, error) {
	// Hash tables of a million ids fit into this memory. Compiling takes longer
	// than counting.
	if _, err := tx.Exec(ctx, `SET LOCAL work_mem = '64MB'; SET LOCAL jit = off`); err != nil {
		return nil, err
	}
	// The plan depends on the filter: see store.ListEvents.
	return query.Rows(ctx, tx, "count runs", func(row pgx.CollectableRow) (p PlannedRuns, err error) {
		return p, row.Scan(&p.Kind, &p.Runs, &p.FirstEvent, &p.LastEvent)
	}, sql, pgx.QueryExecModeCacheDescribe, args)
}

// rateSQL reads the last thousand completed jobs, in the order of River's index
// on state and time.
const rateSQL = `
SELECT kind, (extract(epoch FROM sum(finalized_at - attempted_at)) / count(*))::float8
FROM (SELECT kind, finalized_at, attempted_at FROM lumin.river_job
      WHERE state = 'completed' AND finalized_at IS NOT NULL ORDER BY finalized_at DESC LIMIT 1000) j
GROUP BY kind`

// estimateWorkers is the number of jobs of a kind that an estimate assumes to
// run at once: the default of a worker.
const estimateWorkers = 16

func (s *Store) estimate(ctx context.Context, plan Plan) error {
	var (
		kind    string
		seconds float64
		average = map[string]float64{}
	)
	err := query.Each(ctx, s.pool, "read the rate of jobs", []any{&kind, &seconds}, func() error {
		average[kind] = max(seconds, 0)
		return nil
	}, rateSQL)
	if err != nil {
		return err
	}
	for i, p := range plan {
		plan[i].Estimate = time.Duration(float64(p.Runs) * average[p.Kind] / estimateWorkers * float64(time.Second))
	}
	return nil
}
