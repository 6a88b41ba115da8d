package replay

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/store"
)

// enqueueTakenSQL inserts the jobs of the runs in taken. It returns their
// number, the last event key, and the queues to wake. A page takes longer with
// River's own insert, which uses COPY.
const enqueueTakenSQL = `, jobs AS (
    INSERT INTO lumin.river_job (id, args, kind, max_attempts, priority, queue, metadata)
    SELECT t.job_id, jsonb_build_object('event_key', t.event_key, 'replay_id', @order::bigint), t.job_kind, s.max_attempts, s.priority, s.queue, t.metadata
    FROM taken t
    JOIN unnest(@known::text[], @max_attempts::smallint[], @priorities::smallint[], @queues::text[])
         AS s (kind, max_attempts, priority, queue) ON s.kind = t.job_kind
    ORDER BY t.job_id
    RETURNING queue
)
SELECT (SELECT count(*) FROM jobs),
       (SELECT event_key FROM taken ORDER BY 1 DESC NULLS LAST LIMIT 1),
       (SELECT coalesce(array_agg(DISTINCT queue), '{}') FROM jobs)`

// takeRuns runs a statement that ends in enqueueTakenSQL, and wakes the
// workers.
func (p *pager) takeRuns(ctx context.Context, sql string, args pgx.NamedArgs) (last *[16]byte, err error) {
	var queues []string
	// The plan depends on the filter: see store.ListEvents.
	if err := p.tx.QueryRow(ctx, sql, pgx.QueryExecModeCacheDescribe, args).Scan(&p.page.Enqueued, &last, &queues); err != nil {
		return nil, err
	}
	return last, store.WakeTx(ctx, p.tx, queues)
}

// lowestPriority is River's.
const lowestPriority = 4

// jobArgs returns the filter of the order, and how to create the jobs of each
// kind.
func (p *pager) jobArgs() pgx.NamedArgs {
	var (
		kinds, queues        = []string{}, []string{}
		attempts, priorities []int16
	)
	for kind, spec := range p.jobs.Specs {
		kinds, queues = append(kinds, kind), append(queues, spec.Queue)
		attempts = append(attempts, int16(spec.MaxAttempts))
		// Jobs of new events come first if a queue holds both.
		priorities = append(priorities, int16(min(spec.Priority+1, lowestPriority)))
	}
	args := p.order.Filter.args()
	args["order"], args["limit"] = p.order.ID, p.limit
	args["known"], args["queues"], args["max_attempts"], args["priorities"] = kinds, queues, attempts, priorities
	return args
}
