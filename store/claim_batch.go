package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Claim is the answer to one attempt in a batch: either the event of its run,
// which is claimed, or the reason not to work on it.
type Claim struct {
	Event  *Event
	Reason error // ErrRunSettled, ErrRunLocked or ErrEventGone
}

// claimBatchSQL is claimSQL for several runs of one job type. A batch has a run
// at most once.
//
// The plan must stay a look-up for each run, even if it was made while the table
// was small. OFFSET 0 does this for the locks. The update cannot be fenced, so
// LIMIT makes the planner expect few rows: of a limit that it does not know, it
// expects a tenth of the rows.
const claimBatchSQL = `
WITH claimed AS (
    SELECT a.event_key, a.replay_id, a.job_id, a.attempt
    FROM (SELECT * FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::int[])
            AS u (event_key, replay_id, job_id, attempt) ORDER BY event_key) a
    CROSS JOIN LATERAL (
        SELECT FROM lumin.runs r
        WHERE r.event_key = a.event_key AND r.job_kind = $1
          AND r.replay_id <= a.replay_id AND (r.state <> 'succeeded' OR r.replay_id < a.replay_id)
        OFFSET 0 FOR UPDATE SKIP LOCKED
    ) r
    LIMIT $6
), settled AS (
    UPDATE lumin.runs r
    SET state = 'succeeded', replay_id = c.replay_id, job_id = c.job_id, attempts = c.attempt, error = NULL,
        finished_at = clock_timestamp()
    FROM claimed c WHERE r.event_key = c.event_key AND r.job_kind = $1
    RETURNING r.event_key, r.event_id, r.rerun
)
SELECT s.event_key AS run_key, e.*, s.rerun FROM settled s
LEFT JOIN LATERAL (SELECT ` + eventColumns + ` FROM lumin.events WHERE id = s.event_id OFFSET 0) e ON true`

// BeginClaims begins a transaction on conn and claims the runs of several jobs of
// one job type in it, in one round trip. No two attempts may have the same event
// key. The claims are in the order of the attempts.
//
// If a claim has ErrEventGone, the transaction has marked its run as well, so it
// must be rolled back. Otherwise [Store.BeginClaim] describes the transaction.
func (s *Store) BeginClaims(ctx context.Context, conn *pgx.Conn, attempts []Attempt) (pgx.Tx, []Claim, error) {
	var claims []Claim
	tx, err := beginClaim(ctx, conn, claimBatchSQL, claimBatchArgs(attempts), func(rows pgx.Rows) (err error) {
		claims, err = claimsOf(rows, attempts)
		return err
	})
	if err == nil {
		err = classifyUnclaimedRuns(ctx, tx, attempts, claims)
	}
	return tx, claims, err
}

// ClaimsTx is [Store.BeginClaims] in a transaction that has begun already.
func (s *Store) ClaimsTx(ctx context.Context, tx pgx.Tx, attempts []Attempt) ([]Claim, error) {
	rows, _ := tx.Query(ctx, claimBatchSQL, claimBatchArgs(attempts)...) // reading the rows returns the error
	claims, err := claimsOf(rows, attempts)
	if err == nil {
		err = classifyUnclaimedRuns(ctx, tx, attempts, claims)
	}
	return claims, err
}

func claimBatchArgs(attempts []Attempt) []any {
	n := len(attempts)
	keys, replays, jobs, numbers := make([][16]byte, n), make([]int64, n), make([]int64, n), make([]int32, n)
	for i, a := range attempts {
		keys[i], replays[i], jobs[i], numbers[i] = a.EventKey, a.ReplayID, a.JobID, int32(a.Number)
	}
	return []any{attempts[0].JobKind, keys, replays, jobs, numbers, n}
}

// claimsOf reads the result of claimBatchSQL. A claim without an event and
// without a reason was not made.
func claimsOf(rows pgx.Rows, attempts []Attempt) ([]Claim, error) {
	claims := make([]Claim, len(attempts))
	place := make(map[[16]byte]int, len(attempts))
	for i, a := range attempts {
		place[a.EventKey] = i
	}
	scan := scanEventOf(attempts[0].JobKind)
	var key [16]byte
	_, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		event, err := scan(prefixedRow{row, []any{&key}})
		c := &claims[place[key]]
		if c.Event = event; event == nil || event.Payload == nil {
			*c = Claim{Reason: ErrEventGone}
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim runs: %w", err)
	}
	return claims, nil
}

// prefixedRow is a row whose first columns are read into prefix, and the others
// as usual.
type prefixedRow struct {
	pgx.CollectableRow
	prefix []any
}

// Scan implements pgx.CollectableRow.
func (r prefixedRow) Scan(into ...any) error {
	return r.CollectableRow.Scan(append(r.prefix, into...)...)
}

const runsActSQL = `
SELECT a.event_key
FROM unnest($2::uuid[], $3::bigint[]) AS a (event_key, replay_id)
CROSS JOIN LATERAL (
    SELECT FROM lumin.runs r
    WHERE r.event_key = a.event_key AND r.job_kind = $1
      AND r.replay_id <= a.replay_id AND (r.state <> 'succeeded' OR r.replay_id < a.replay_id)
    OFFSET 0
) r`

// classifyUnclaimedRuns gives a reason to each claim that was not made: the run is locked,
// or needs no work.
func classifyUnclaimedRuns(ctx context.Context, tx pgx.Tx, attempts []Attempt, claims []Claim) error {
	var (
		keys    [][16]byte
		replays []int64
	)
	for i := range claims {
		if claims[i] == (Claim{}) {
			claims[i].Reason = ErrRunSettled
			keys, replays = append(keys, attempts[i].EventKey), append(replays, attempts[i].ReplayID)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, _ := tx.Query(ctx, runsActSQL, attempts[0].JobKind, keys, replays) // reading the rows returns the error
	open, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
	if err != nil {
		return fmt.Errorf("check runs: %w", err)
	}
	locked := make(map[[16]byte]bool, len(open))
	for _, key := range open {
		locked[key] = true
	}
	for i := range claims {
		if errors.Is(claims[i].Reason, ErrRunSettled) && locked[attempts[i].EventKey] {
			claims[i].Reason = ErrRunLocked
		}
	}
	return nil
}
