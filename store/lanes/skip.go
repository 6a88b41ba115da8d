package lanes

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/redact"
)

// ErrNoReason refuses to skip a run without a reason.
var ErrNoReason = errors.New("skipping a run needs a reason")

const skipSQL = `SELECT lumin.dismiss_failure($1::text::uuid, $2, $3, coalesce(nullif($4, ''), current_user))`

// Skip dismisses the failed run that holds a lane, with a reason and the person
// who skips it, and wakes the next run. It returns false and changes nothing if
// that run is no longer failed, if another transaction has locked it, or if the
// lane was not held. E-mail addresses are removed from the reason.
func Skip(ctx context.Context, pool *pgxpool.Pool, held Lane, reason, by string) (skipped bool, err error) {
	if strings.TrimSpace(reason) == "" {
		return false, ErrNoReason
	}
	if !held.Held() {
		return false, nil
	}
	if err := pool.QueryRow(ctx, skipSQL, *held.HeldKey, held.Kind, redact.Text(reason), by).Scan(&skipped); err != nil {
		return false, fmt.Errorf("skip the head of a lane: %w", err)
	}
	return skipped, nil
}
