package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// RunStory is what has happened to one run.
type RunStory struct {
	Kind        string
	Status      string // queued, running, retrying, parked, missing, or the state of the run
	Attempts    int
	NextAttempt *time.Time // nil unless the run waits for one
	Error       string     // the last; empty if there is none
	ReplayID    int64      // 0: not replayed
	JobID       *int64
	CreatedAt   *time.Time // nil: the run is missing
	PendingSince,
	FinishedAt *time.Time
	SucceededBefore bool // the run took effect before it was replayed

	// River removes finished jobs after some days. JobKept is false then, and
	// Tries is empty.
	JobKept   bool
	StartedAt *time.Time // the last attempt
	Tries     []Try      // failed attempts of the job

	DismissedBy, DismissReason *string
	DismissedAt                *time.Time

	Failures []FinalFailure `db:"-"` // the newest first
	Replays  []StoryReplay  `db:"-"` // of the event's runs and failures, as far as they are known
}

// StoryReplay is a replay that has repeated a run.
type StoryReplay struct {
	ID        int64
	State     string
	StartedAt *time.Time
}

// Try is one failed attempt.
type Try struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Error   string    `json:"error"`
	Trace   string    `json:"trace"` // of a panic
}

// FinalFailure is one row of lumin.failures: the end of a run's job that failed for
// good or was cancelled.
type FinalFailure struct {
	Kind     string
	ReplayID int64
	JobID    *int64
	State    string // failed or cancelled
	Attempts int
	Tries    []Try
	FailedAt time.Time
}

const runStoriesSQL = `
SELECT s.job_kind, s.status, coalesce(s.attempts, 0), s.next_attempt_at, coalesce(s.error, ''), coalesce(s.replay_id, 0), s.job_id,
       r.created_at, s.pending_since, s.finished_at, coalesce(r.rerun > 0, false),
       j.id IS NOT NULL, j.attempted_at, coalesce(to_jsonb(j.errors), '[]'), d.dismissed_by, d.reason, d.dismissed_at
FROM lumin.event_status s
LEFT JOIN LATERAL (SELECT * FROM lumin.runs q WHERE q.event_key = s.event_key AND q.job_kind = s.job_kind OFFSET 0) r ON true
LEFT JOIN LATERAL (SELECT * FROM lumin.river_job q WHERE q.id = s.job_id OFFSET 0) j ON true
LEFT JOIN LATERAL (
    SELECT * FROM lumin.dismissals q WHERE s.status = 'dismissed' AND q.event_key = s.event_key AND q.job_kind = s.job_kind OFFSET 0
) d ON true
WHERE s.event_id = $1 AND s.status <> 'not_subscribed' ORDER BY s.job_kind`

// A run that is replayed again and again has many failures.
const finalFailuresSQL = `
SELECT f.job_kind, f.replay_id, f.job_id, f.state, f.attempts, coalesce(to_jsonb(f.errors), '[]'), f.failed_at
FROM lumin.failures f
WHERE f.event_key = (SELECT e.event_key FROM lumin.events e WHERE e.id = $1)
ORDER BY f.failed_at DESC, f.id DESC LIMIT 100`

const storyReplaysSQL = `SELECT id, state, started_at FROM lumin.replays WHERE id = ANY ($1)`

// RunStories returns what has happened to the runs of an event, by job type. They
// include those of job types that subscribe to the event but have no run. At most
// 100 failures are included.
func (s *Store) RunStories(ctx context.Context, eventID int64) ([]RunStory, error) {
	call := fmt.Sprintf("load runs of event %d", eventID)
	stories, err := query.Structs[RunStory](ctx, s.pool, call, runStoriesSQL, eventID)
	if err != nil {
		return nil, err
	}
	failed, err := query.Structs[FinalFailure](ctx, s.pool, call, finalFailuresSQL, eventID)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for i := range stories {
		ids = append(ids, stories[i].ReplayID)
		for _, f := range failed {
			if f.Kind == stories[i].Kind {
				stories[i].Failures, ids = append(stories[i].Failures, f), append(ids, f.ReplayID)
			}
		}
	}
	replays, err := query.Structs[StoryReplay](ctx, s.pool, call, storyReplaysSQL, query.NotNull(ids))
	for i := range stories {
		stories[i].Replays = replays
	}
	return stories, err
}

// RunLine is the state of one run in a list.
type RunLine struct {
	EventKey string
	Kind     string
	Status   string // queued, running, retrying, or the state of the run
	Attempts int
	Error    string
}

const runLinesSQL = `
SELECT r.event_key::text, r.job_kind,
       CASE WHEN r.state <> 'pending' THEN r.state WHEN j.state = 'running' THEN 'running'
            WHEN r.job_id IS NOT NULL AND coalesce(j.attempt, r.attempts) > 0 THEN 'retrying' ELSE 'queued' END,
       coalesce(j.attempt, r.attempts), coalesce(r.error, '')
FROM lumin.runs r
LEFT JOIN LATERAL (SELECT * FROM lumin.river_job q WHERE r.state = 'pending' AND q.id = r.job_id OFFSET 0) j ON true
WHERE r.event_key = ANY ($1::uuid[]) ORDER BY r.event_key, r.job_kind`

// RunLines returns the runs of some events by event key, each list by job type.
func (s *Store) RunLines(ctx context.Context, eventKeys []string) (map[string][]RunLine, error) {
	lines, err := query.Structs[RunLine](ctx, s.pool, "load runs", runLinesSQL, pgx.QueryExecModeCacheDescribe, query.NotNull(eventKeys))
	byKey := map[string][]RunLine{}
	for _, l := range lines {
		byKey[l.EventKey] = append(byKey[l.EventKey], l)
	}
	return byKey, err
}
