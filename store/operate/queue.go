package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store"
)

// ErrInternalQueue refuses to pause a queue of the program's own jobs.
var ErrInternalQueue = errors.New("cannot be paused")

// InternalWork names what runs in a queue of the program's own jobs. It is empty for
// every other queue.
func InternalWork(queue string) string {
	switch queue {
	case "lumin":
		return "replays and the jobs that wake lanes"
	case "lumin_periodic":
		return "retention, erasures, the sweep and periodic jobs"
	}
	return ""
}

// CheckPause returns [ErrInternalQueue], with what a pause would stop, for a queue of
// the program's own jobs. A version before this one paused them: they can be resumed.
func CheckPause(queue string) error {
	if work := InternalWork(queue); work != "" {
		return fmt.Errorf("queue %s %w: %s run in it", queue, ErrInternalQueue, work)
	}
	return nil
}

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
// queue, and [ErrInternalQueue] for a queue of the program's own jobs.
func (o *Operator) PauseQueue(ctx context.Context, by Actor, queue, reason string) error {
	if err := CheckPause(queue); err != nil {
		return err
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
	return o.once(ctx, by, Change{action, map[string]string{"queue": queue}, reason}, func(ctx context.Context) (any, error) {
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
