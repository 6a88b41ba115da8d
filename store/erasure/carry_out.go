package erasure

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store/internal/recording"
)

// CarryOut carries out an order as far as possible without waiting for locks or
// running jobs, and returns the order with its counts. It skips rows that are
// locked or belong to running jobs. Another call erases them. It may be
// interrupted and repeated at any time, and several calls may run at once.
//
// The order is finished once two passes in a row have skipped nothing, and the
// archived files are gone. Between the two passes it waits for every
// transaction that may still add events. A transaction that began before the
// first pass could not see that pass. Archived files are removed by a program
// that has their bucket.
func CarryOut(ctx context.Context, pool *pgxpool.Pool, id int64) (Order, error) {
	o, err := Load(ctx, pool, id)
	if err != nil || o.FinishedAt != nil {
		return o, err
	}
	for range 2 {
		left, err := pass(ctx, pool, o)
		if err == nil && !left {
			err = recording.Await(ctx, pool)
		}
		if err != nil {
			return o, fmt.Errorf("erase: %w", err)
		}
		if left {
			return Load(ctx, pool, id)
		}
	}
	_, err = pool.Exec(ctx, `
		UPDATE lumin.erasures SET finished_at = now()
		WHERE id = $1 AND finished_at IS NULL AND NOT EXISTS (SELECT FROM lumin.archived_files WHERE erasure_id = $1)`, id)
	if err != nil {
		return o, fmt.Errorf("finish erasure %d: %w", id, err)
	}
	return Load(ctx, pool, id)
}

// pageSize is the number of signature requests, or of unrecognized events, that
// are erased in one transaction.
const pageSize = 50

// pass erases everything of an order that is not locked, and reports whether
// another pass is needed.
func pass(ctx context.Context, pool *pgxpool.Pool, o Order) (left bool, err error) {
	leftRequests, err := eachPage(o.SignatureRequestIDs, func(ids []string) (outcome, error) {
		return erase(ctx, pool, o.ID, ids, requestEventsSQL, ids, o.LastEventID)
	})
	if err != nil {
		return true, err
	}
	leftEvents, err := eachPage(o.EventIDs, func(ids []int64) (outcome, error) {
		return erase(ctx, pool, o.ID, []string{}, unrecognizedEventsSQL, ids)
	})
	return leftRequests || leftEvents, err
}

// outcome is the result of one transaction.
type outcome int

const (
	erased     outcome = iota
	jobRunning         // erased, but a running job still has a row to erase
	locked             // nothing was changed, because a row is locked
)

// eachPage erases page by page. A locked page is erased id by id, so that one
// lock does not block the other ids.
func eachPage[ID any](ids []ID, do func([]ID) (outcome, error)) (left bool, err error) {
	for page := range slices.Chunk(ids, pageSize) {
		result, err := do(page)
		if err != nil {
			return true, err
		}
		if result == locked && len(page) > 1 {
			for one := range slices.Chunk(page, 1) {
				if result, err = do(one); err != nil {
					return true, err
				}
				left = left || result != erased
			}
			continue
		}
		left = left || result != erased
	}
	return left, nil
}
