package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// Status says which runs a filter chooses from.
type Status string

// The statuses that can be replayed.
const (
	Failed    Status = "failed"    // runs that have used up their attempts
	Retrying  Status = "retrying"  // runs that wait for their next attempt; a replay makes it now
	Cancelled Status = "cancelled" // runs that their job type or a person cancelled
	Succeeded Status = "succeeded" // runs that took effect; a replay repeats the effect. Needs another filter

	// Missing stands for events that were stored before the given job types
	// were registered. A replay creates the runs, the oldest event first. It
	// excludes late events, and events whose body has been removed.
	Missing Status = "missing"

	// Late stands for events that were stored without runs, because they were too
	// old when they arrived. A replay creates the runs of the job types that
	// subscribe to them, or only of the given ones, like Missing.
	Late Status = "late"

	// Unrecognized stands for events without an identity. A replay decodes them
	// again, and stores each event that has an identity now, with its runs.
	Unrecognized Status = "unrecognized"
)

// dismissed chooses dismissed runs. It cannot be replayed: dismissed runs must
// be restored first.
const dismissed Status = "dismissed"

// RunState is the state of the runs that this status chooses. A cancelled
// replay restores it. It is empty for statuses that have no runs yet.
func (s Status) RunState() string {
	switch s {
	case Missing, Late, Unrecognized:
		return ""
	case "":
		return string(Failed)
	case Retrying:
		return "pending"
	default:
		return string(s)
	}
}

// Filter chooses runs. A run must match every field that is set. A filter
// without any field set is refused with [ErrNoFilter].
type Filter struct {
	Status              Status     `json:"status"` // empty means failed, but does not count as a filter
	Kinds               []string   `json:"job_kinds"`
	EventTypes          []string   `json:"event_types"`
	Sources             []string   `json:"sources"`
	SignatureRequestIDs []string   `json:"signature_request_ids"`
	EventIDs            []int64    `json:"event_ids"`
	ErrorFingerprints   []string   `json:"error_fingerprints"` // as in lumin.runs
	ReceivedSince       *time.Time `json:"received_since"`     // inclusive
	ReceivedUntil       *time.Time `json:"received_until"`     // exclusive
	EventSince          *time.Time `json:"event_since"`        // inclusive, Lumin's event_time
	EventUntil          *time.Time `json:"event_until"`        // exclusive

	// AsOf leaves out what happened later, by the database's clock: see asOf. It is
	// the AsOf of the plan that a person has seen, and does not count as a filter. nil
	// and a time in the future mean now.
	AsOf *time.Time `json:"as_of"`
}

// ErrNoFilter refuses an empty filter.
var ErrNoFilter = errors.New("no filter given: choose the runs to replay (for all failed runs: failed)")

// ErrTimeRange refuses a filter whose time range is empty.
var ErrTimeRange = errors.New("the time range ends before it begins: exchange since and until")

// Validate returns the reason why an order with this filter is refused.
func (f Filter) Validate() error {
	switch f.Status {
	case "":
		if !f.narrows() {
			return ErrNoFilter
		}
	case Failed, Retrying, Cancelled:
	case Succeeded:
		if !f.narrows() {
			return errors.New("succeeded runs need another filter: name job types, events, signature requests or a time range")
		}
	case Missing:
		if len(f.Kinds) == 0 {
			return errors.New("missing runs need job types: name them")
		}
		fallthrough
	case Late:
		if len(f.ErrorFingerprints) > 0 {
			return fmt.Errorf("a %s run has no error: leave the error fingerprints out", f.Status)
		}
	case Unrecognized:
		if len(f.Kinds)+len(f.ErrorFingerprints) > 0 || f.ofIdentity() {
			return errors.New("unrecognized events have only a source, an id and a time of receipt: leave the other filters out")
		}
	default:
		return fmt.Errorf("%q is not a status that can be replayed: give failed, retrying, cancelled, missing, late, succeeded or unrecognized", string(f.Status))
	}
	if emptyRange(f.ReceivedSince, f.ReceivedUntil) || emptyRange(f.EventSince, f.EventUntil) {
		return ErrTimeRange
	}
	return nil
}

// creates reports whether a replay creates the runs that it chooses.
func (f Filter) creates() bool { return f.Status == Missing || f.Status == Late }

// narrows reports whether any field besides the status is set.
func (f Filter) narrows() bool {
	return len(f.Kinds)+len(f.ErrorFingerprints)+len(f.EventIDs) > 0 || f.ofIdentity() || f.ofCopy()
}

// ofIdentity reports whether a field is set that has the same value in every
// stored copy of an event.
func (f Filter) ofIdentity() bool {
	return len(f.EventTypes)+len(f.SignatureRequestIDs) > 0 || f.EventSince != nil || f.EventUntil != nil
}

// ofCopy reports whether a field is set that differs between the stored copies
// of an event.
func (f Filter) ofCopy() bool {
	return len(f.Sources) > 0 || f.ReceivedSince != nil || f.ReceivedUntil != nil
}

func emptyRange(since, until *time.Time) bool {
	return since != nil && until != nil && !since.Before(*until)
}

// args returns the parameters of the conditions in match.go.
func (f Filter) args() pgx.NamedArgs {
	return pgx.NamedArgs{
		"kinds": query.NotNull(f.Kinds), "errors": query.NotNull(f.ErrorFingerprints), "types": query.NotNull(f.EventTypes),
		"sources": query.NotNull(f.Sources), "requests": query.NotNull(f.SignatureRequestIDs), "ids": query.NotNull(f.EventIDs),
		"received_since": f.ReceivedSince, "received_until": f.ReceivedUntil,
		"event_since": f.EventSince, "event_until": f.EventUntil, "as_of": f.AsOf,
	}
}

// bounded returns the filter with an AsOf that is not in the future.
func (s *Store) bounded(ctx context.Context, f Filter) (Filter, error) {
	var asOf time.Time
	if err := s.pool.QueryRow(ctx, `SELECT least($1::timestamptz, now())`, f.AsOf).Scan(&asOf); err != nil {
		return f, fmt.Errorf("read the database's clock: %w", err)
	}
	asOf = asOf.UTC()
	f.AsOf = &asOf
	return f, nil
}
