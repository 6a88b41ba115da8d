package replay

import "context"

// enqueueRuns takes failed, cancelled or succeeded runs, in the order of their
// keys.
func (p *pager) enqueueRuns(ctx context.Context) (end bool, err error) {
	args, next := p.jobArgs(), p.window.until
	args["after"], args["until"] = p.from.key, next
	last, err := p.takeRuns(ctx, runsPageSQL(p.order.Filter), args)
	if err != nil {
		return false, err
	}
	full := last != nil && p.page.Enqueued == p.limit
	if full {
		next = *last // the page has not looked behind it
	}
	p.page.Next.key, args["until"] = next, next
	if err := p.noteLeft(ctx, runsLeftSQL(p.order.Filter), args); err != nil {
		return false, err
	}
	return p.window.end && !full, p.noteStarted(ctx, args)
}

// runsPageSQL takes only runs of older orders. Otherwise a run that failed
// again under this order would be replayed forever. It skips a run that another
// transaction has locked, such as another page. Afterwards the run is pending,
// or another pass finds it.
//
// Retention and erasure may be about to remove the body of a succeeded or
// cancelled run, so its event is locked too. If they have locked it, another
// pass takes the run. The recorder's lock is weaker and does not conflict.
func runsPageSQL(f Filter) string {
	lock := `FOR UPDATE OF r SKIP LOCKED`
	if f.Status == Succeeded || f.Status == Cancelled {
		lock += ` FOR KEY SHARE OF e SKIP LOCKED`
	}
	page := f.runsInWindow().and(`r.job_kind = ANY (@known::text[])`)
	return `WITH page AS (
    SELECT r.ctid, r.event_key, r.job_kind, r.replay_id, r.job_id, r.finished_at
    ` + page.SQL(4) + `
    ORDER BY r.event_key, r.job_kind LIMIT @limit
    ` + lock + `
), updated AS (
    UPDATE lumin.runs r
    SET state = 'pending', replay_id = @order, job_id = nextval('lumin.river_job_id_seq'), pending_since = now(), finished_at = NULL,
        rerun = r.rerun + (r.state = 'succeeded')::int
    -- The rows are locked, so their ctid cannot change. A join would scan the
    -- whole table.
    WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM page))
    RETURNING r.event_key, r.job_kind, r.job_id
), taken AS MATERIALIZED (
    -- A row that changed just before it was locked is in page only, and is not taken.
    -- A full join is never a nested loop, which the planner would choose if it
    -- expected few rows.
    SELECT u.event_key, u.job_kind, u.job_id, jsonb_build_object('` + beforeKey + `', jsonb_build_object(
               'replay_id', p.replay_id, 'job_id', p.job_id, 'finished_at', p.finished_at)) AS metadata
    FROM updated u FULL JOIN page p USING (event_key, job_kind)
)` + enqueueTakenSQL
}

// runsInWindow selects the runs r of a window that the order has not taken.
func (f Filter) runsInWindow() selection {
	return f.runs(withBody).and(`r.replay_id < @order`, `r.event_key >= @after::uuid`, `r.event_key < @until::uuid`)
}
