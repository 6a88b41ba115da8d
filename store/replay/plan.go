package replay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/estimate"
)

// Plan counts the runs that an order would make pending now, by job type.
type Plan struct {
	JobTypes []PlannedRuns

	// Exact is false if the numbers and times are estimates. A job type with fewer
	// than MayMiss runs can then be missing.
	Exact   bool
	MayMiss int64

	// AsOf is the AsOf of the filter, or else when the count began, by the database's
	// clock. An order with it takes nothing that happened later.
	AsOf time.Time
}

// PlannedRuns counts the runs of one job type.
type PlannedRuns struct {
	Kind       string // empty: events decoded from unrecognized ones
	Runs       int64
	FirstEvent *time.Time    // received
	LastEvent  *time.Time    // received
	Duration   time.Duration // at the rate of the last jobs of this kind; 0 if there are none
}

// Runs counts the runs of all job types.
func (p Plan) Runs() (n int64) {
	for _, of := range p.JobTypes {
		n += of.Runs
	}
	return n
}

// Empty reports whether certainly no run matches.
func (p Plan) Empty() bool { return p.Exact && len(p.JobTypes) == 0 }

// Plan counts the runs that an order with this filter would make pending now.
func (s *Store) Plan(ctx context.Context, f Filter) (Plan, error) {
	if err := f.Validate(); err != nil {
		return Plan{}, err
	}
	f, err := s.bounded(ctx, f)
	if err != nil {
		return Plan{}, err
	}
	if f.Status == Unrecognized {
		return s.planUnrecognized(ctx, f)
	}
	plan, err := s.planRuns(ctx, f, withBody)
	if err != nil {
		return Plan{}, err
	}
	return plan, s.addDurations(ctx, plan)
}

// Excluded counts runs that match a filter but that a replay excludes.
type Excluded struct {
	Bodiless  int64 // retention or an erasure has removed the body of their event
	Dismissed int64
	Exact     bool // false: the numbers are estimates
}

// Excluded counts the runs that a replay with this filter excludes.
func (s *Store) Excluded(ctx context.Context, f Filter) (Excluded, error) {
	f, err := s.bounded(ctx, f)
	if err != nil {
		return Excluded{}, err
	}
	switch f.Status {
	case "", Failed:
		f.Status = dismissed
		plan, err := s.planRuns(ctx, f, withBody)
		return Excluded{Dismissed: plan.Runs(), Exact: plan.Exact}, err
	case Succeeded, Cancelled, Missing, Late:
		plan, err := s.planRuns(ctx, f, withoutBody)
		return Excluded{Bodiless: plan.Runs(), Exact: plan.Exact}, err
	}
	return Excluded{Exact: true}, nil
}

// planRuns counts runs within the limits of s. The filter is bounded.
func (s *Store) planRuns(ctx context.Context, f Filter, b body) (Plan, error) {
	table := f.runs(b).table()
	if f.creates() {
		table = "lumin.events"
	}
	read := func(ctx context.Context, tx pgx.Tx, percent float64) (Plan, error) {
		args := f.args()
		args["percent"] = percent
		if f.creates() {
			return planMissing(ctx, tx, f, b, args)
		}
		runs := f.runs(b)
		if percent < wholeTable {
			runs = runs.sample()
		}
		return readPlan(ctx, tx, planRunsSQL(runs), args)
	}
	parts, coverage, err := estimate.Count(ctx, s.pool, s.limits, table, read)
	if err != nil {
		return Plan{}, fmt.Errorf("plan replay: %w", err)
	}
	plan := merged(parts, coverage)
	plan.AsOf = *f.AsOf
	return plan, nil
}

// merged makes one plan of those of samples.
func merged(parts []Plan, coverage estimate.Coverage) Plan {
	all := Plan{Exact: coverage.Exact, MayMiss: coverage.MayMiss()}
	for _, part := range parts {
		for _, p := range part.JobTypes {
			i := slices.IndexFunc(all.JobTypes, func(of PlannedRuns) bool { return of.Kind == p.Kind })
			if i < 0 {
				all.JobTypes = append(all.JobTypes, p)
				continue
			}
			of := &all.JobTypes[i]
			of.Runs += p.Runs
			of.FirstEvent, of.LastEvent = earlier(of.FirstEvent, p.FirstEvent), later(of.LastEvent, p.LastEvent)
		}
	}
	for i := range all.JobTypes {
		all.JobTypes[i].Runs = coverage.Scale(all.JobTypes[i].Runs)
	}
	slices.SortFunc(all.JobTypes, func(a, b PlannedRuns) int { return cmp.Compare(a.Kind, b.Kind) })
	return all
}

// earlier and later ignore an event that was removed while it was counted.
func earlier(a, b *time.Time) *time.Time {
	if a == nil || (b != nil && b.Before(*a)) {
		return b
	}
	return a
}

func later(a, b *time.Time) *time.Time {
	if a == nil || (b != nil && b.After(*a)) {
		return b
	}
	return a
}

// planMissing counts one job type after the other. The planner gets each
// subscription as parameters, which makes the count several times as fast as a
// join with the job types.
func planMissing(ctx context.Context, tx pgx.Tx, f Filter, b body, args pgx.NamedArgs) (all Plan, err error) {
	types, err := subscriptions(ctx, tx, f.Kinds)
	if err != nil {
		return all, err
	}
	sql := planMissingSQL(f, b)
	if args["percent"] != wholeTable {
		sql = sampleMissingSQL(f, b)
	}
	for _, t := range types {
		setSubscription(args, t)
		some, err := readPlan(ctx, tx, sql, args)
		if err != nil {
			return all, err
		}
		all.JobTypes = append(all.JobTypes, some.JobTypes...)
	}
	return all, nil
}

// subscriptions returns the registered job types of these kinds, or all if no kind
// is given, with the events and sources that each subscribes to.
func subscriptions(ctx context.Context, db query.DB, kinds []string) ([]catalog.JobType, error) {
	return query.Rows(ctx, db, "load job types", func(row pgx.CollectableRow) (t catalog.JobType, err error) {
		return t, row.Scan(&t.Kind, &t.Events, &t.Sources, &t.RefusesRecovered)
	}, `SELECT kind, events, sources, NOT recovered FROM lumin.job_types
		WHERE cardinality($1::text[]) = 0 OR kind = ANY ($1) ORDER BY kind`, query.NotNull(kinds))
}

// setSubscription sets the parameters of missingRuns.
func setSubscription(args pgx.NamedArgs, t catalog.JobType) {
	args["type_kind"], args["type_events"], args["type_sources"], args["type_recovered"] = t.Kind, t.Events, t.Sources, !t.RefusesRecovered
}

// wholeTable is the percentage of an exact count.
const wholeTable = 100.0

func planRunsSQL(runs selection) string {
	return planSQL("SELECT r.job_kind AS kind, count(*) AS n, min(r.event_id) AS first_id, max(r.event_id) AS last_id", runs)
}

// missingRuns selects the events e that have no run of a job type t.
func (f Filter) missingRuns(b body) selection {
	return f.missing(`CROSS JOIN (SELECT @type_kind::text AS kind, @type_events::text[] AS events, @type_sources::text[] AS sources, @type_recovered::boolean AS recovered) t`, b).
		and(`NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind)`)
}

// planMissingSQL counts distinct event keys, because the copies of an event share a
// run.
func planMissingSQL(f Filter, b body) string {
	return planSQL("SELECT t.kind, count(DISTINCT e.event_key) AS n, min(e.id) AS first_id, max(e.id) AS last_id", f.missingRuns(b))
}

// sampleMissingSQL counts an event with two copies as half an event for each copy
// in the sample: mostly only one of them is in it.
func sampleMissingSQL(f Filter, b body) string {
	copies := selection{from: []string{"lumin.events c"}}.and(
		`c.event_key = e.event_key`, f.lateness("c"), asOf("c.received_at"), subscribesTo("c"), strings.ReplaceAll(string(b), "e.", "c."))
	return planSQL("SELECT t.kind, round(sum(1.0 / (\n        SELECT count(*) "+copies.SQL(8)+
		"\n    )))::bigint AS n, min(e.id) AS first_id, max(e.id) AS last_id", f.missingRuns(b).sample())
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

func readPlan(ctx context.Context, tx pgx.Tx, sql string, args pgx.NamedArgs) (plan Plan, err error) {
	// The plan depends on the filter: see store.ListEvents.
	plan.JobTypes, err = query.Rows(ctx, tx, "count runs", func(row pgx.CollectableRow) (p PlannedRuns, err error) {
		return p, row.Scan(&p.Kind, &p.Runs, &p.FirstEvent, &p.LastEvent)
	}, sql, pgx.QueryExecModeCacheDescribe, args)
	return plan, err
}
