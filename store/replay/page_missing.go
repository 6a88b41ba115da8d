package replay

import "context"

// enqueueMissing checks a bounded number of events, oldest first, even if few
// of them miss a run. Each pager has its own window.
func (p *pager) enqueueMissing(ctx context.Context) (end bool, err error) {
	if p.window.end {
		return true, nil
	}
	p.page.Next.id = p.window.last
	args := p.jobArgs()
	args["first"], args["last"] = p.window.first, p.window.last
	if _, err := p.takeRuns(ctx, missingPageSQL(p.order.Filter), args); err != nil {
		return false, err
	}
	return false, p.noteLeft(ctx, missingLeftSQL(p.order.Filter), args)
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
	held := f.missingInWindow().and(`t.kind = ANY (@known::text[])`)
	return `WITH held AS MATERIALIZED (
    SELECT e.event_key, t.kind, e.id
    ` + held.SQL(4) + `
    ORDER BY e.id, t.kind LIMIT @limit
    FOR KEY SHARE OF e SKIP LOCKED
), taken AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, job_id)
    SELECT event_key, kind, id, @order, nextval('lumin.river_job_id_seq') FROM held ORDER BY event_key, kind COLLATE "C", id
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind, job_id, '{}'::jsonb AS metadata
)` + enqueueTakenSQL
}

// missingInWindow selects the events e of a window that have no run of a job type t.
func (f Filter) missingInWindow() selection {
	return f.missing(`JOIN lumin.job_types t ON cardinality(@kinds::text[]) = 0 OR t.kind = ANY (@kinds)`, withBody).and(
		`NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind OFFSET 0)`,
		`e.id BETWEEN @first AND @last`,
	)
}
