package window

import (
	"context"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/history"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/workload"
)

// JobType is a job type and its unfinished and failed runs.
type JobType struct {
	Kind        string     `json:"job_kind"`
	Events      []string   `json:"event_types"` // empty: all
	Sources     []string   `json:"sources"`     // empty: all
	Queue       string     `json:"queue"`       // empty: not registered
	MaxAttempts int        `json:"max_attempts"`
	WhenFailed  string     `json:"when_failed"` // hold, skip or cancel; empty: the job type is not ordered
	LastSeen    *time.Time `json:"last_seen_at"`
	Programs    int        `json:"program_count"` // running programs that work it
	Queued      int64      `json:"queued"`
	Running     int64      `json:"running"`
	Retrying    int64      `json:"retrying"`
	Parked      int64      `json:"parked"`
	Failed      int64      `json:"failed"`
	Oldest      *time.Time `json:"pending_since"` // of the oldest pending run; nil if none is pending
}

// JobTypes counts the runs of each job type. Its duration grows with the number of
// unfinished and failed runs.
func (w *Window) JobTypes(ctx context.Context) (types []JobType, err error) {
	all, err := inTurn(ctx, w, workload.JobTypes)
	for _, t := range all {
		types = append(types, JobType(t))
	}
	return types, err
}

// Queue is a queue and its jobs.
type Queue struct {
	Name     string     `json:"queue"`
	PausedAt *time.Time `json:"paused_at"`    // nil: not paused
	LastSeen *time.Time `json:"last_seen_at"` // when a program last worked it; nil: not within a day
	Kinds    []string   `json:"job_kinds"`    // registered job types that use it
	Queued   int64      `json:"queued"`
	Running  int64      `json:"running"`
	Waiting  int64      `json:"waiting"`       // for their time, such as the next attempt
	Oldest   *time.Time `json:"pending_since"` // of the oldest queued job; nil if none is queued
}

// Queues counts the jobs of each queue.
func (w *Window) Queues(ctx context.Context) (queues []Queue, err error) {
	all, err := inTurn(ctx, w, workload.Queues)
	for _, q := range all {
		queues = append(queues, Queue(q))
	}
	return queues, err
}

// Alerts are alerts and how their sending goes.
type Alerts struct {
	Alerts  []alerts.Open  `json:"alerts"` // the newest first
	Sending alerts.Sending `json:"sending"`
}

// Alerts lists the alerts that hold, and those that were resolved within a time.
func (w *Window) Alerts(ctx context.Context, resolvedWithin time.Duration) (a Alerts, err error) {
	if a.Alerts, err = alerts.List(ctx, w.pool, resolvedWithin); err != nil {
		return a, err
	}
	a.Sending, err = alerts.ReadSending(ctx, w.pool)
	return a, err
}

// Status is a summary of what needs attention.
type Status struct {
	JobTypes  []JobType   `json:"registered_job_types"`
	Queues    []Queue     `json:"queues"`
	HeldLanes []HeldLanes `json:"held_lanes"`
	Programs  []Program   `json:"programs"`

	// Alerts are those that hold, the newest first, if a program examines them.
	Alerts []alerts.Open `json:"alerts"`

	// Undecided counts conflicts that wait for a decision, and TwoSigners those of
	// them between two signers. Both are at most [conflict.UndecidedCounted].
	Undecided  int64 `json:"undecided_conflicts"`
	TwoSigners int64 `json:"undecided_between_signers"`

	// Late counts late events that wait for a decision, among the newest late ones.
	Late int64 `json:"waiting_late_events"`

	// Unrecognized counts deliveries of the last hour without a usable identity.
	Unrecognized int64 `json:"unrecognized_last_hour"`
}

// HeldLanes counts the held lanes of one job type.
type HeldLanes struct {
	Kind  string     `json:"job_kind"`
	Lanes int64      `json:"held"`
	Since *time.Time `json:"since"` // when the oldest of them became held; nil if none is held
	Age   float64    `json:"age_seconds"`
	More  bool       `json:"more"` // only lanes.HeldLooks failed runs were looked at
}

// Status reads the summary.
func (w *Window) Status(ctx context.Context) (s Status, err error) {
	if s.JobTypes, err = w.JobTypes(ctx); err != nil {
		return s, err
	}
	if s.Queues, err = w.Queues(ctx); err != nil {
		return s, err
	}
	if s.Programs, err = w.Programs(ctx); err != nil {
		return s, err
	}
	held, err := lanes.CountHeld(ctx, w.pool)
	if err != nil {
		return s, err
	}
	for _, h := range held {
		s.HeldLanes = append(s.HeldLanes, HeldLanes(h))
	}
	if s.Alerts, err = alerts.List(ctx, w.pool, 0); err != nil {
		return s, err
	}
	undecided, err := conflict.CountUndecided(ctx, w.pool)
	if err != nil {
		return s, err
	}
	s.Undecided, s.TwoSigners = undecided.All, undecided.TwoSigners
	late, err := store.CountWaitingLate(ctx, w.pool)
	if err != nil {
		return s, err
	}
	s.Late = late.Events
	s.Unrecognized, err = w.UnrecognizedLately(ctx)
	return s, err
}

// UnrecognizedLately counts the deliveries of the last hour that had no usable
// identity, so that no job type got them.
func (w *Window) UnrecognizedLately(ctx context.Context) (int64, error) {
	now, err := w.store.Now(ctx)
	if err != nil {
		return 0, err
	}
	lately, err := history.Deliveries(ctx, w.pool, history.LastHour(now), "")
	return history.Unrecognized(lately), err
}
