package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// EventsByKey returns the events of a key, one for each source that reported
// it. No event is not an error.
func (s *Store) EventsByKey(ctx context.Context, key lumin.EventKey) ([]EventSummary, error) {
	ids, err := query.Column[int64](ctx, s.pool, "find event key "+key.String(),
		`SELECT e.id FROM lumin.events e WHERE e.event_key = $1 ORDER BY e.id`, [16]byte(key))
	if err != nil {
		return nil, err
	}
	return s.eventsByID(ctx, ids)
}

// ErrNoRun means that a job has no run, and so belongs to no event.
var ErrNoRun = errors.New("not the job of a run")

// EventsByJob returns the event of the run that a job worked on. River removes
// finished jobs after some days. After that, EventsByJob searches runs and
// failures, which takes longer. The error is ErrNotFound if no trace of the job
// is found.
func (s *Store) EventsByJob(ctx context.Context, jobID int64) ([]EventSummary, error) {
	var (
		call = fmt.Sprintf("find job %d", jobID)
		kind string
		key  *string
		ids  []int64
	)
	err := s.pool.QueryRow(ctx, `SELECT j.kind, j.args ->> 'event_key' FROM lumin.river_job j WHERE j.id = $1`, jobID).Scan(&kind, &key)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		ids, err = query.Column[int64](ctx, s.pool, call, `
			SELECT r.event_id FROM lumin.runs r WHERE r.job_id = $1
			UNION
			SELECT r.event_id FROM lumin.failures f
			JOIN lumin.runs r ON r.event_key = f.event_key AND r.job_kind = f.job_kind
			WHERE f.job_id = $1`, jobID)
	case err != nil:
		err = fmt.Errorf("%s: %w", call, err)
	default:
		var parsed lumin.EventKey
		if key != nil {
			parsed, err = lumin.ParseEventKey(*key)
		}
		if key == nil || err != nil {
			return nil, fmt.Errorf("job %d, of kind %s: %w", jobID, kind, ErrNoRun)
		}
		ids, err = query.Column[int64](ctx, s.pool, call,
			`SELECT r.event_id FROM lumin.runs r WHERE r.event_key = $1 AND r.job_kind = $2`, [16]byte(parsed), kind)
	}
	if err != nil {
		return nil, err
	}
	events, err := s.eventsByID(ctx, ids)
	if err == nil && len(events) == 0 {
		err = fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	}
	return events, err
}

// EventOfJob returns the id of the event whose run a job works on. Unlike
// [Store.EventsByJob] it looks only into the queue. The error is ErrNotFound if the
// queue no longer has the job, and ErrNoRun if the job has no run.
func (s *Store) EventOfJob(ctx context.Context, jobID int64) (id int64, err error) {
	var (
		kind  string
		found *int64
	)
	err = s.pool.QueryRow(ctx, `
		SELECT j.kind, (SELECT r.event_id FROM lumin.runs r WHERE r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind)
		FROM lumin.river_job j WHERE j.id = $1`, jobID).Scan(&kind, &found)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	case err != nil:
		return 0, fmt.Errorf("find job %d: %w", jobID, err)
	case found == nil:
		return 0, fmt.Errorf("job %d, of kind %s: %w", jobID, kind, ErrNoRun)
	}
	return *found, nil
}

// JobDetails is a job of the queue. The arguments and the metadata of a follow-up job
// may hold personal data.
type JobDetails struct {
	Kind        string
	Queue       string
	State       string // as River names it
	Attempt     int
	MaxAttempts int
	CreatedAt   time.Time
	Args        string // JSON
	Metadata    string // JSON
}

// ShowJob returns a job. The error is ErrNotFound if the queue no longer has it.
func (s *Store) ShowJob(ctx context.Context, jobID int64) (JobDetails, error) {
	jobs, err := query.Structs[JobDetails](ctx, s.pool, fmt.Sprintf("show job %d", jobID), `
		SELECT kind, queue, state::text, attempt, max_attempts, created_at, args::text, metadata::text
		FROM lumin.river_job WHERE id = $1`, jobID)
	if err == nil && len(jobs) == 0 {
		err = fmt.Errorf("job %d: %w", jobID, ErrNotFound)
	}
	if err != nil {
		return JobDetails{}, err
	}
	return jobs[0], nil
}

// NewestPayload returns the body of the newest event of a signature request that
// has one, or nil.
func (s *Store) NewestPayload(ctx context.Context, signatureRequestID string) ([]byte, error) {
	bodies, err := query.Column[[]byte](ctx, s.pool, "load the newest body of a signature request", `
		SELECT e.payload FROM lumin.events e
		WHERE e.signature_request_id = $1 AND e.payload IS NOT NULL ORDER BY e.event_time DESC LIMIT 1`, signatureRequestID)
	if err != nil || len(bodies) == 0 {
		return nil, err
	}
	return bodies[0], nil
}
