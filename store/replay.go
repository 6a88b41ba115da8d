package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReplayStatus says which runs a replay order is about.
type ReplayStatus string

// The statuses of runs that can be replayed.
const (
	ReplayFailed    ReplayStatus = "failed"    // what has used up its attempts
	ReplayRetrying  ReplayStatus = "retrying"  // what waits for its next attempt: it is made now
	ReplayCancelled ReplayStatus = "cancelled" // what was given up by its job type or by a person
	ReplaySucceeded ReplayStatus = "succeeded" // what took effect already, once more; needs another filter beside it

	// ReplayMissing makes runs of the job types named for stored events that they
	// would have wanted, the oldest event first: those that came before the job
	// type did. Events whose body has been removed are left out.
	ReplayMissing ReplayStatus = "missing"

	// ReplayUnrecognized decodes unrecognized events anew. What has an identity
	// now becomes an event of its own, with its runs.
	ReplayUnrecognized ReplayStatus = "unrecognized"
)

// RunState is the state of the runs that an order of this status takes, and puts
// them back to when it is cancelled; empty where there are none before.
func (s ReplayStatus) RunState() string {
	switch s {
	case ReplayMissing, ReplayUnrecognized:
		return ""
	case "":
		return string(ReplayFailed)
	case ReplayRetrying:
		return "pending"
	default:
		return string(s)
	}
}

// ReplayFilter chooses the runs that a replay order is about. Every part that is
// set narrows the choice; a filter with no part set chooses nothing and is
// refused with [ErrNoFilter].
type ReplayFilter struct {
	Status              ReplayStatus `json:"status"` // empty means failed, but is no filter by itself
	Kinds               []string     `json:"job_kinds"`
	EventTypes          []string     `json:"event_types"`
	Sources             []string     `json:"sources"`
	SignatureRequestIDs []string     `json:"signature_request_ids"`
	EventIDs            []int64      `json:"event_ids"`
	ErrorFingerprints   []string     `json:"error_fingerprints"` // as in lumin.runs
	ReceivedSince       *time.Time   `json:"received_since"`     // inclusive
	ReceivedUntil       *time.Time   `json:"received_until"`     // exclusive
	EventSince          *time.Time   `json:"event_since"`        // inclusive, Lumin's event_time
	EventUntil          *time.Time   `json:"event_until"`        // exclusive

	withoutBody bool // choose the runs that a status leaves out because the body is gone
}

// ErrNoFilter refuses an order that names nothing to replay.
var ErrNoFilter = errors.New("no filter given: name what to replay (all failed runs: failed)")

// ErrInverted refuses a time range that holds no time.
var ErrInverted = errors.New("the time range ends before it begins: exchange since and until")

// ErrNotFound says that there is no row of that id.
var ErrNotFound = errors.New("not found")

// Validate tells why an order of this filter would be refused.
func (f ReplayFilter) Validate() error {
	switch f.Status {
	case "":
		if !f.narrows() {
			return ErrNoFilter
		}
	case ReplayFailed, ReplayRetrying, ReplayCancelled:
	case ReplaySucceeded:
		if !f.narrows() {
			return errors.New("everything that ever succeeded is not replayed at once: name job types, events, signature requests or a time range")
		}
	case ReplayMissing:
		if len(f.Kinds) == 0 {
			return errors.New("runs can be missing of certain job types only: name them")
		}
		if len(f.ErrorFingerprints) > 0 {
			return errors.New("a run that is missing has no error: leave the error fingerprints out")
		}
	case ReplayUnrecognized:
		if len(f.Kinds)+len(f.EventTypes)+len(f.SignatureRequestIDs)+len(f.ErrorFingerprints) > 0 || f.EventSince != nil || f.EventUntil != nil {
			return errors.New("of unrecognized events only source, id and the time of receipt are known: leave the other filters out")
		}
	default:
		return fmt.Errorf("%q is not a status that can be replayed: failed, retrying, cancelled, missing, succeeded and unrecognized are", string(f.Status))
	}
	if inverted(f.ReceivedSince, f.ReceivedUntil) || inverted(f.EventSince, f.EventUntil) {
		return ErrInverted
	}
	return nil
}

// narrows reports whether anything is set beside the status.
func (f ReplayFilter) narrows() bool {
	return len(f.Kinds)+len(f.ErrorFingerprints)+len(f.EventIDs) > 0 || f.ofIdentity() || f.ofCopy()
}

// ofIdentity reports whether the filter has conditions on values that all copies of
// an event share.
func (f ReplayFilter) ofIdentity() bool {
	return len(f.EventTypes)+len(f.SignatureRequestIDs) > 0 || f.EventSince != nil || f.EventUntil != nil
}

// ofCopy reports whether the filter has conditions on values that differ between
// copies of an event.
func (f ReplayFilter) ofCopy() bool {
	return len(f.Sources) > 0 || f.ReceivedSince != nil || f.ReceivedUntil != nil
}

func inverted(since, until *time.Time) bool {
	return since != nil && until != nil && !since.Before(*until)
}

// Replay is one replay order.
type Replay struct {
	ID         int64        `json:"id"`
	OrderedBy  string       `json:"ordered_by"`
	Reason     string       `json:"reason"`
	Filter     ReplayFilter `json:"filter"`
	Rate       int          `json:"rate"`      // runs a second; 0 for no limit
	State      string       `json:"state"`     // ordered, running, done, cancelled, refused, failed
	Planned    *int64       `json:"planned"`   // runs that matched when it was started; nil before
	Enqueued   int64        `json:"enqueued"`  // runs put to pending so far
	Withdrawn  int64        `json:"withdrawn"` // of these, put back as they had been after a cancel
	Error      string       `json:"error"`     // why it was refused or failed, or what it had to leave
	CreatedAt  time.Time    `json:"created_at"`
	StartedAt  *time.Time   `json:"started_at"`
	EnqueuedAt *time.Time   `json:"enqueued_at"` // when nothing was left to put to pending
	FinishedAt *time.Time   `json:"finished_at"`

	jobsAfter int64 // its jobs have higher ids
}

// Over reports whether nothing more becomes of the order.
func (r Replay) Over() bool { return r.FinishedAt != nil }

// NewReplay is an order to place.
type NewReplay struct {
	Filter    ReplayFilter
	Rate      int    // runs a second; 0 for no limit
	Reason    string // for whoever reads the order later
	OrderedBy string // empty means the database role
}

const orderReplaySQL = `
INSERT INTO lumin.replays (job_kinds, event_types, sources, signature_request_ids, event_ids, error_fingerprints,
                           received_since, received_until, event_since, event_until, status, rate, reason, ordered_by)
VALUES (@kinds, @types, @sources, @requests, @ids, @errors, @received_since, @received_until, @event_since, @event_until,
        nullif(@status, ''), nullif(@rate, 0), @reason, coalesce(nullif(@by, ''), current_user))
RETURNING id`

// OrderReplay places an order. A running worker carries it out.
func (s *Store) OrderReplay(ctx context.Context, n NewReplay) (id int64, err error) {
	if err := n.Validate(); err != nil {
		return 0, err
	}
	args := n.Filter.args()
	args["status"], args["rate"], args["reason"], args["by"] = string(n.Filter.Status), n.Rate, n.Reason, n.OrderedBy
	if err := s.pool.QueryRow(ctx, orderReplaySQL, args).Scan(&id); err != nil {
		return 0, fmt.Errorf("order replay: %w", err)
	}
	return id, nil
}

// Validate tells why the order would be refused.
func (n NewReplay) Validate() error {
	if n.Rate < 0 {
		return fmt.Errorf("a rate of %d runs a second is none: give 1 or more", n.Rate)
	}
	return n.Filter.Validate()
}

// ErrOver says that an order is over already.
var ErrOver = errors.New("the order is over")

// CancelReplay ends an order: nothing more is put to pending, and a running worker
// puts back as they had been those of its runs whose job has not begun. ErrOver
// when there is nothing to end.
func (s *Store) CancelReplay(ctx context.Context, id int64) error {
	tag, err := s.pool.Exec(ctx, `UPDATE lumin.replays SET state = 'cancelled' WHERE id = $1 AND state IN ('ordered', 'running')`, id)
	if err != nil {
		return fmt.Errorf("cancel replay %d: %w", id, err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	order, err := s.Replay(ctx, id)
	if err != nil {
		return err
	}
	return fmt.Errorf("replay %d is %s: %w", id, order.State, ErrOver)
}

const replayColumns = `id, ordered_by, reason, coalesce(status, ''), job_kinds, event_types, sources,
    signature_request_ids, event_ids, error_fingerprints, received_since, received_until, event_since, event_until,
    coalesce(rate, 0), state, planned, enqueued, withdrawn, coalesce(error, ''), created_at, started_at, enqueued_at, finished_at, coalesce(jobs_after, 0)`

func scanReplay(row pgx.CollectableRow) (Replay, error) {
	var r Replay
	f := &r.Filter
	err := row.Scan(&r.ID, &r.OrderedBy, &r.Reason, &f.Status, &f.Kinds, &f.EventTypes, &f.Sources,
		&f.SignatureRequestIDs, &f.EventIDs, &f.ErrorFingerprints, &f.ReceivedSince, &f.ReceivedUntil, &f.EventSince, &f.EventUntil,
		&r.Rate, &r.State, &r.Planned, &r.Enqueued, &r.Withdrawn, &r.Error, &r.CreatedAt, &r.StartedAt, &r.EnqueuedAt, &r.FinishedAt, &r.jobsAfter)
	return r, err
}

// Replays lists the newest orders first, at most limit.
func (s *Store) Replays(ctx context.Context, limit int) ([]Replay, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+replayColumns+` FROM lumin.replays ORDER BY id DESC LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", err)
	}
	replays, err := pgx.CollectRows(rows, scanReplay)
	if err != nil {
		return nil, fmt.Errorf("list replays: %w", err)
	}
	return replays, nil
}

// Replay returns one order; ErrNotFound if there is none of that id.
func (s *Store) Replay(ctx context.Context, id int64) (Replay, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+replayColumns+` FROM lumin.replays WHERE id = $1`, id)
	if err != nil {
		return Replay{}, fmt.Errorf("load replay %d: %w", id, err)
	}
	replay, err := pgx.CollectExactlyOneRow(rows, scanReplay)
	if errors.Is(err, pgx.ErrNoRows) {
		return Replay{}, fmt.Errorf("replay %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Replay{}, fmt.Errorf("load replay %d: %w", id, err)
	}
	return replay, nil
}

// RunCount is how many runs of one job type are in one state.
type RunCount struct {
	Kind  string `json:"job_kind"`
	State string `json:"state"`
	Runs  int64  `json:"count"`
}

// ReplayRuns tells where the runs of an order are by now. A run that a later
// order took over is counted there.
func (s *Store) ReplayRuns(ctx context.Context, id int64) ([]RunCount, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT job_kind, state, count(*) FROM lumin.runs
		WHERE replay_id = $1 AND replay_id > 0 GROUP BY 1, 2 ORDER BY 1, 2`, id)
	if err != nil {
		return nil, fmt.Errorf("count runs of replay %d: %w", id, err)
	}
	counts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RunCount])
	if err != nil {
		return nil, fmt.Errorf("count runs of replay %d: %w", id, err)
	}
	return counts, nil
}
