package replay

import "context"

// windowSQL returns the first and the last id of a window of events: $3 events
// after id $1 and $2 more.
// Late events have an index of their own.
const (
	windowSQL = `
SELECT min(id), max(id) FROM (SELECT id FROM lumin.events WHERE id > $1 ORDER BY id OFFSET $2 LIMIT $3) w`

	lateWindowSQL = `
SELECT min(id), max(id) FROM (SELECT id FROM lumin.events WHERE late AND id > $1 ORDER BY id OFFSET $2 LIMIT $3) w`
)

// enqueueMissing checks a bounded number of events, oldest first, even if few
// of them miss a run. Each pager has its own window, after those of the pagers
// before it.
func (p *pager) enqueueMissing(ctx context.Context) (end bool, err error) {
	kinds, window := len(p.order.Filter.Kinds), windowSQL
	if p.order.Filter.Status == Late {
		window = lateWindowSQL
	}
	if kinds == 0 {
		kinds = len(p.jobs.Specs)
	}
	events := max(p.limit/max(kinds, 1), 1)
	var first, last *int64
	err = p.tx.QueryRow(ctx, window, p.from.id, p.index*events, events).Scan(&first, &last)
	if err != nil || last == nil {
		return p.index == 0, err
	}
	p.page.Next.id = *last
	args := p.jobArgs()
	args["first"], args["last"] = *first, *last
	_, err = p.takeRuns(ctx, missingPageSQL(p.order.Filter), args)
	return false, err
}

// missingPageSQL creates the runs that a window of events misses, up to the
// limit.
//
// Retention and erasure may be about to remove an event or its body, so events
// are locked. If they have locked an event, another pass takes it. The recorder
// counts a redelivery under a weaker lock, which does not conflict. Runs are
// inserted in the recorder's order, which is that of bytes. OFFSET 0 makes the
// planner look runs up one by one.
func missingPageSQL(f Filter) string {
	held := f.missing(`JOIN lumin.job_types t ON cardinality(@kinds::text[]) = 0 OR t.kind = ANY (@kinds)`, withBody).and(
		`NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind OFFSET 0)`,
		`e.id BETWEEN @first AND @last`,
		`t.kind = ANY (@known::text[])`,
	)
	return `WITH held AS MATERIALIZED (
    SELECT e.event_key, t.kind, e.id
    ` + held.SQL(4) + `
    ORDER BY e.id, t.kind LIMIT @limit
    FOR KEY SHARE OF e SKIP LOCKED
), taken AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, job_id)
    SELECT event_key, kind, id, @order, nextval('lumin.river_job_id_seq') FROM held ORDER BY event_key, kind COLLATE "C", id
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind, job_id
)` + enqueueTakenSQL
}
