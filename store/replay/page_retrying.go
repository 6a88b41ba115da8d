package replay

import (
	"context"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store"
)

// enqueueRetrying makes jobs that wait for their next attempt run now.
func (p *pager) enqueueRetrying(ctx context.Context) (end bool, err error) {
	args := p.jobArgs()
	args["after"] = p.from.id
	var (
		id     int64
		queue  string
		queues []string
	)
	err = query.Each(ctx, p.tx, "move retries to now", []any{&id, &queue}, func() error {
		p.page.Enqueued++
		p.page.Next.id = max(p.page.Next.id, id)
		if !slices.Contains(queues, queue) {
			queues = append(queues, queue)
		}
		return nil
	}, retryingPageSQL(p.order.Filter), pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return false, err
	}
	if err := store.WakeTx(ctx, p.tx, queues); err != nil {
		return false, err
	}
	full := p.page.Enqueued == p.limit
	if args["until"] = int64(math.MaxInt64); full {
		args["until"] = p.page.Next.id // the page has not looked behind it
	}
	return !full, p.noteLeft(ctx, retryingLeftSQL(p.order.Filter), args)
}

// retryingPageSQL writes the id of the order into run and job. The order
// therefore does not take them again, and an attempt that River gave up can no
// longer claim the run.
func retryingPageSQL(f Filter) string {
	page := f.retryingInWindow().and(`r.job_kind = ANY (@known::text[])`)
	return `WITH page AS (
    SELECT j.id, r.event_key, r.job_kind
    ` + page.SQL(4) + `
    ORDER BY j.id LIMIT @limit
    FOR UPDATE OF j, r SKIP LOCKED
), moved AS (
    UPDATE lumin.runs r SET replay_id = @order, job_id = p.id
    FROM page p WHERE r.event_key = p.event_key AND r.job_kind = p.job_kind
)
UPDATE lumin.river_job j
SET state = 'available', scheduled_at = now(), args = jsonb_set(j.args, '{replay_id}', to_jsonb(@order::bigint))
FROM page p WHERE j.id = p.id
RETURNING j.id, j.queue`
}

// retryingInWindow selects the runs r with waiting jobs j that the order has not taken.
func (f Filter) retryingInWindow() selection {
	return f.runs(withBody).and(`r.replay_id < @order`, `j.id > @after`)
}
