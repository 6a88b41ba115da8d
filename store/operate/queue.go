package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store"
)

// ErrInternalQueue refuses to pause the queue of the program's own jobs. Without
// them there are no replays, no erasures and no retention.
var ErrInternalQueue = errors.New("queue lumin cannot be paused: replays, erasures and retention run in it")

// internalQueue is the queue of the program's own jobs.
const internalQueue = "lumin"

// These statements do what River's client does. River names the channel after its
// schema and reads this JSON.
const (
	pauseSQL = `
UPDATE lumin.river_queue
SET updated_at = CASE WHEN paused_at IS NULL THEN now() ELSE updated_at END, paused_at = coalesce(paused_at, now())
WHERE name = $1`

	resumeSQL = `
UPDATE lumin.river_queue
SET updated_at = CASE WHEN paused_at IS NULL THEN updated_at ELSE now() END, paused_at = NULL
WHERE name = $1`

	controlSQL = `SELECT pg_notify('lumin.river_control', json_build_object('action', $1::text, 'queue', $2::text)::text)`
)

// PauseQueue makes all programs take no further jobs from a queue. Jobs that are
// running go on. Programs act within milliseconds, or within a minute if they miss
// the notification. The error is [store.ErrNotFound] if no program has used the
// queue, and [ErrInternalQueue] for the queue lumin.
func (o *Operator) PauseQueue(ctx context.Context, by Actor, queue, reason string) error {
	if queue == internalQueue {
		return ErrInternalQueue
	}
	return o.controlQueue(ctx, by, ActionPauseQueue, "pause", pauseSQL, queue, reason)
}

// ResumeQueue ends a pause. The error is [store.ErrNotFound] if no program has used
// the queue.
func (o *Operator) ResumeQueue(ctx context.Context, by Actor, queue, reason string) error {
	return o.controlQueue(ctx, by, ActionResumeQueue, "resume", resumeSQL, queue, reason)
}

// controlQueue carries out a statement, and tells programs about it in a word of River.
func (o *Operator) controlQueue(ctx context.Context, by Actor, action, word, sql, queue, reason string) error {
	return o.Do(ctx, by, Change{action, map[string]string{"queue": queue}, reason}, func(ctx context.Context) (any, error) {
		err := pgx.BeginTxFunc(ctx, o.pool, query.ReadCommitted, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, sql, queue)
			if err == nil && tag.RowsAffected() == 0 {
				return store.ErrNotFound
			}
			if err == nil {
				_, err = tx.Exec(ctx, controlSQL, word, queue)
			}
			return err
		})
		if err != nil {
			err = fmt.Errorf("%s queue %s: %w", word, queue, err)
		}
		return nil, err
	})
}
