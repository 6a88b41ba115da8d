package store

import "lumin-ingest/lumin"

// JobSpec describes the job to insert for a run: its job type, and how River
// treats the job.
type JobSpec struct {
	Kind        string
	Queue       string
	MaxAttempts int
	Priority    int // River's 1 (first) to 4 (last)
}

// JobArgs are the arguments of each of our jobs in River's table. They name a
// run and contain no data of the event, so River's table holds no personal
// data.
//
// One Go type serves all job types. The kind is a field that is not serialized,
// because River stores it in its own column.
type JobArgs struct {
	EventKey lumin.EventKey `json:"event_key"`
	ReplayID int64          `json:"replay_id"`

	JobKind string `json:"-"`
}

func (a JobArgs) Kind() string { return a.JobKind }
