package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Further reasons not to work on a run, returned by [Store.BeginOrderedClaim].
var (
	ErrLaneBusy   = errors.New("another event of the signature request is being worked on")
	ErrNotHead    = errors.New("an earlier event of the signature request is not finished")
	ErrLaneFailed = errors.New("an earlier event of the signature request failed")
)

// A run blocks later ones of its lane until it is finished. A failed run does so
// if the policy is to hold. $2 is the kind.
const blocksLane = `(r.state IN ('pending', 'parked') OR r.state = 'failed' AND ` + lanePolicy + ` = 'hold')`

const lanePolicy = `(SELECT t.when_failed FROM lumin.job_types t WHERE t.kind = $2)`

// A job does not act on a run that is cancelled. The run was cancelled by an earlier
// attempt of this job, and the program was killed before River knew. Nor does it act
// on one that was then dismissed. Without a job ($6 is false), the run must be parked.
const actsOnOrderedRun = actsOnRun + `
      AND CASE WHEN $6 THEN r.state NOT IN ('cancelled', 'dismissed') OR r.replay_id < $3 ELSE r.state = 'parked' END`

// orderedClaimSQL is claimSQL for a job type that is ordered. It takes the lock
// of the lane, checks that no earlier run of the lane blocks, and marks the run,
// all in one statement: succeeded if its event may be worked. Otherwise it parks
// the run, or cancels it after a failure.
//
// The lock of the lane comes before that of the row: a session that does not get
// the first must not keep its holder from getting the second. Such a session reads
// nothing more here, and relies on the holder to read the head afterwards.
//
// The statement sees what was committed before it began, which can be before
// another holder released the lock:
//
//   - An earlier run that has finished since still blocks. The run is parked
//     although it is the head. Every session that parks a run, and every session
//     that has held the lock, reads the head afterwards and works it if it is
//     parked, so one of them works this run.
//   - The run itself has been worked since. FOR UPDATE checks the newest version
//     of its row, so there is nothing to claim.
//   - An earlier event has arrived or was replayed since. Its effect comes after
//     that of this run, as if it had arrived after this run. They do not overlap:
//     both need the lock.
//
// The look-ups of earlier runs are correlated subqueries, fenced by OFFSET 0. As
// a join, a plan that was made while the tables were empty reads much more.
const orderedClaimSQL = `
WITH own AS MATERIALIZED (
    SELECT e.*, pg_try_advisory_xact_lock(hashtextextended($2 || ':' || coalesce(e.signature_request_id, $1::uuid::text), 0)) AS locked
    FROM lumin.runs r
    LEFT JOIN LATERAL (SELECT ` + eventColumns + ` FROM lumin.events WHERE id = r.event_id OFFSET 0) e ON true
    WHERE ` + actsOnOrderedRun + `
), claimed AS MATERIALIZED (
    SELECT o.*, l.claimed FROM own o
    LEFT JOIN LATERAL (
        SELECT true AS claimed FROM lumin.runs r
        WHERE ` + actsOnOrderedRun + ` AND ($6 OR o.locked)
        OFFSET 0 FOR UPDATE SKIP LOCKED) l ON true
), checked AS MATERIALIZED (
    SELECT c.*, CASE WHEN c.locked AND c.claimed THEN (
        SELECT ARRAY[max(earlier.id) FILTER (WHERE r.state = 'failed' AND ` + lanePolicy + ` = 'cancel'),
                     max(earlier.id) FILTER (WHERE ` + blocksLane + `)]
        FROM (SELECT e.id, e.event_key FROM lumin.events e
              WHERE e.signature_request_id = c.signature_request_id AND (e.event_time, e.event_key) < (c.event_time, c.event_key) OFFSET 0) earlier
        CROSS JOIN LATERAL (SELECT r.state FROM lumin.runs r WHERE r.event_key = earlier.event_key AND r.job_kind = $2 OFFSET 0) r
    ) END AS found
    FROM claimed c
), decided AS MATERIALIZED (
    SELECT c.*, CASE WHEN c.claimed IS NULL THEN CASE WHEN c.locked OR $6 THEN 'locked' ELSE 'busy' END
                     WHEN c.payload IS NULL THEN 'gone' WHEN NOT c.locked THEN 'busy'
                     WHEN c.found[1] IS NOT NULL THEN 'failed' WHEN c.found[2] IS NOT NULL THEN 'later' ELSE 'head' END AS place
    FROM checked c
), settled AS (
    UPDATE lumin.runs r
    SET state = CASE d.place WHEN 'head' THEN 'succeeded' WHEN 'failed' THEN 'cancelled' ELSE 'parked' END,
        replay_id = $3, job_id = coalesce($4, r.job_id),
        attempts = CASE WHEN d.place IN ('busy', 'later') THEN $5 - 1 ELSE $5 END,
        error = CASE d.place WHEN 'head' THEN NULL WHEN 'failed' THEN format('cancelled, because event %s of the signature request failed', d.found[1]) ELSE r.error END,
        finished_at = CASE WHEN d.place IN ('head', 'failed') THEN clock_timestamp() END
    FROM decided d
    WHERE r.event_key = $1 AND r.job_kind = $2 AND d.claimed AND (d.place IN ('head', 'failed') OR d.place IN ('busy', 'later') AND $6)
    RETURNING r.rerun, r.job_id, r.attempts, r.error
), noted AS (
    INSERT INTO lumin.failures (event_key, job_kind, replay_id, job_id, state, attempts, errors)
    SELECT $1, $2, $3, s.job_id, 'cancelled', s.attempts,
           ARRAY[jsonb_build_object('at', now(), 'attempt', s.attempts, 'error', s.error, 'trace', '')]
    FROM settled s JOIN decided d ON d.place = 'failed'
)
SELECT d.place, s.error, d.id, d.event_key, d.source, d.signature_request_id, d.event_type, d.event_time, d.payload, d.signature,
       d.received_at, coalesce(s.rerun, 0)
FROM decided d LEFT JOIN settled s ON true`

// BeginOrderedClaim is [Store.BeginClaim] for a job type that is ordered. It can
// also return these errors. The caller must then commit the transaction, which
// keeps the new state of the run:
//
//   - ErrLaneBusy and ErrNotHead: the run is parked.
//   - ErrLaneFailed: the run is cancelled. The error says why.
//
// If the attempt has no job (JobID 0), its run must be parked, and stays so after
// ErrLaneBusy and ErrNotHead.
//
// Whatever the result, the caller must read the head of the lane after it has
// ended the transaction: see [Store.Head].
func (s *Store) BeginOrderedClaim(ctx context.Context, conn *pgx.Conn, a Attempt) (pgx.Tx, *Event, error) {
	var event *Event
	tx, err := beginClaim(ctx, conn, orderedClaimSQL, a.orderedClaimArgs(), func(rows pgx.Rows) (err error) {
		event, err = orderedClaimed(rows, a.JobKind)
		return err
	})
	if errors.Is(err, errUnclaimed) {
		err = s.classifyUnclaimed(ctx, tx, a)
	}
	return tx, event, err
}

// errUnclaimed means that the row of a run was locked, or has changed.
var errUnclaimed = errors.New("run not claimed")

func (a Attempt) orderedClaimArgs() []any {
	var job *int64
	if a.JobID != 0 {
		job = &a.JobID
	}
	return []any{[16]byte(a.EventKey), a.JobKind, a.ReplayID, job, a.Number, job != nil}
}

// orderedClaimed reads the result of orderedClaimSQL. The error is the reason why
// no run was claimed.
func orderedClaimed(rows pgx.Rows, kind string) (*Event, error) {
	var (
		place string
		cause *string
		scan  = scanEventOf(kind)
	)
	event, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (*Event, error) {
		return scan(prefixedRow{row, []any{&place, &cause}})
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrRunSettled
	case err != nil:
		return nil, fmt.Errorf("claim run: %w", err)
	case place == "locked":
		return nil, errUnclaimed
	case place == "gone":
		return nil, ErrEventGone
	case place == "busy":
		return nil, ErrLaneBusy
	case place == "later":
		return nil, ErrNotHead
	case place == "failed":
		return nil, laneFailedError(*cause)
	}
	return event, nil
}

// laneFailedError is the error of a run that is cancelled because of another.
type laneFailedError string

func (e laneFailedError) Error() string        { return string(e) }
func (e laneFailedError) Is(target error) bool { return target == ErrLaneFailed }

// Head is the first run of a lane that blocks later ones. A lane is the runs of
// one ordered job type for one signature request.
type Head struct {
	JobArgs
	Attempts int
	Parked   bool // it waits without a job
}

// $1 is the event key of any run of the lane, $2 its kind.
const headSQL = `
SELECT h.event_key, h.replay_id, h.attempts, h.state = 'parked'
FROM (SELECT e.event_key, e.event_time FROM lumin.events e
      WHERE e.signature_request_id = (SELECT signature_request_id FROM lumin.events WHERE event_key = $1 LIMIT 1)
      ORDER BY e.event_time, e.event_key OFFSET 0) e
CROSS JOIN LATERAL (
    SELECT r.event_key, r.replay_id, r.attempts, r.state FROM lumin.runs r
    WHERE r.event_key = e.event_key AND r.job_kind = $2 AND ` + blocksLane + ` OFFSET 0) h
ORDER BY e.event_time, e.event_key LIMIT 1`

// Head reads the head of the lane to which a run belongs. It is nil if no run
// of the lane blocks.
//
// A parked head has no job. A session that parks a run of the lane, ends a transaction
// of [Store.BeginOrderedClaim], or ends a run without such a transaction, must
// then read the head, and claim it or wake it if it is parked. Therefore a head
// that could be worked stays parked only after a crash. Then the sweep wakes it.
func (s *Store) Head(ctx context.Context, run JobArgs) (*Head, error) {
	rows, _ := s.pool.Query(ctx, headSQL, [16]byte(run.EventKey), run.JobKind) // reading the rows returns the error
	head, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (*Head, error) {
		h := &Head{JobArgs: JobArgs{JobKind: run.JobKind}}
		return h, row.Scan((*[16]byte)(&h.EventKey), &h.ReplayID, &h.Attempts, &h.Parked)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the head of the lane: %w", err)
	}
	return head, nil
}
