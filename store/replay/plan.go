package replay

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/store/catalog"
)

// Plan counts the runs that an order would put to pending now, by job type.
type Plan []PlannedRuns

// PlannedRuns counts the runs of one job type.
type PlannedRuns struct {
	Kind       string // empty: events that would be made out of unrecognized ones
	Runs       int64
	FirstEvent *time.Time    // received
	LastEvent  *time.Time    // received
	Estimate   time.Duration // at the pace of the last jobs of this kind; 0 when there are none
}

// Runs counts the runs of all job types.
func (p Plan) Runs() (n int64) {
	for _, of := range p {
		n += of.Runs
	}
	return n
}

// Plan counts what an order of this filter would put to pending now.
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

// LeftOut counts runs that match a filter and that a replay leaves out nevertheless.
type LeftOut struct {
	Bodiless  int64 // retention or an erasure has removed the body of their event
	Dismissed int64
}

// LeftOut counts the runs that a replay of this filter leaves out.
func (s *Store) LeftOut(ctx context.Context, f Filter) (LeftOut, error) {
	switch f.Status {
	case "", Failed:
		f.Status = dismissed
		plan, err := s.planRuns(ctx, f, withBody)
		return LeftOut{Dismissed: plan.Runs()}, err
	case Succeeded, Cancelled, Missing:
		plan, err := s.planRuns(ctx, f, withoutBody)
		return LeftOut{Bodiless: plan.Runs()}, err
	}
	return LeftOut{}, nil
}

func (s *Store) planRuns(ctx context.Context, f Filter, b body) (plan Plan, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) (err error) {
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
	rows, err := tx.Query(ctx, `SELECT kind, events, sources FROM lumin.job_types WHERE kind = ANY ($1) ORDER BY kind`, f.Kinds)
	if err != nil {
		return nil, err
	}
	types, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t catalog.JobType, err error) {
		return t, row.Scan(&t.Kind, &t.Events, &t.Sources)
	})
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

// planMissingSQL counts distinct event keys, because the copies of an event share a
// run.
func planMissingSQL(f Filter, b body) string {
	runs := f.missing(`CROSS JOIN (SELECT @type_kind::text AS kind, @type_events::text[] AS events, @type_sources::text[] AS sources) t`, b).
		and(`NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind)`)
	return planSQL("SELECT t.kind, count(DISTINCT e.event_key) AS n, min(e.id) AS first_id, max(e.id) AS last_id", runs)
}

// planSQL finds the first and last event by their ids, which grow with time. So a
// plan for all runs does not read the events.
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
	rows, err := tx.Query(ctx, sql, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p PlannedRuns, err error) {
		return p, row.Scan(&p.Kind, &p.Runs, &p.FirstEvent, &p.LastEvent)
	})
}

// paceSQL reads the last thousand completed jobs, in the order of River's index on
// state and time.
const paceSQL = `
SELECT kind, (extract(epoch FROM sum(finalized_at - attempted_at)) / count(*))::float8
FROM (SELECT kind, finalized_at, attempted_at FROM lumin.river_job
      WHERE state = 'completed' AND finalized_at IS NOT NULL ORDER BY finalized_at DESC LIMIT 1000) j
GROUP BY kind`

// estimateWorkers is how many jobs of a kind an estimate assumes to run side by
// side: the default of a worker.
const estimateWorkers = 16

func (s *Store) estimate(ctx context.Context, plan Plan) error {
	rows, err := s.pool.Query(ctx, paceSQL)
	if err != nil {
		return fmt.Errorf("look at the pace of jobs: %w", err)
	}
	var (
		kind    string
		seconds float64
		pace    = map[string]float64{}
	)
	if _, err := pgx.ForEachRow(rows, []any{&kind, &seconds}, func() error { pace[kind] = max(seconds, 0); return nil }); err != nil {
		return fmt.Errorf("look at the pace of jobs: %w", err)
	}
	for i, p := range plan {
		plan[i].Estimate = time.Duration(float64(p.Runs) * pace[p.Kind] / estimateWorkers * float64(time.Second))
	}
	return nil
}
