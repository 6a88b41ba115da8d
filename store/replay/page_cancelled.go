package replay

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

const cancelledSQL = `
SELECT coalesce(bool_or(finished_at IS NULL), false), coalesce(sum(withdrawn), 0)::bigint
FROM lumin.replays WHERE id <> $1 AND state = 'cancelled'`

// lookAtCancelled notes what other orders, which are cancelled, restore. A pass may
// have gone past a run before it was restored. So the order ends only with a pass
// during which none was. It must be called before the page looks at runs.
func (p *pager) lookAtCancelled(ctx context.Context) error {
	var restored int64
	if err := p.tx.QueryRow(ctx, cancelledSQL, p.order.ID).Scan(&p.restoring, &restored); err != nil {
		return fmt.Errorf("find cancelled replays: %w", err)
	}
	next := &p.page.Next
	if next.begun, next.restored = true, p.from.restored; !p.from.begun {
		next.restored = restored
	}
	p.restoring = p.restoring || restored != next.restored
	return nil
}

// noteStarted notes whether runs of a part of the pass match that have the number of a
// later order: it was cancelled after their jobs had started. See withdrawn.add.
func (p *pager) noteStarted(ctx context.Context, args pgx.NamedArgs) error {
	next := &p.page.Next
	if next.started || next.restored == 0 {
		return nil
	}
	var err error
	next.started, err = query.Row(ctx, p.tx, "look for runs of later replays", pgx.RowTo[bool], startedLaterSQL(p.order.Filter), pgx.QueryExecModeCacheDescribe, args)
	return err
}

func startedLaterSQL(f Filter) string {
	return "SELECT EXISTS (SELECT\n" + f.runs(withBody).and(`r.replay_id > @order`, `r.event_key >= @after::uuid`, `r.event_key < @until::uuid`).SQL(0) + ")"
}
