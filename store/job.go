package store

import "lumin-ingest/lumin"

// JobSpec is a job to put into the queue for a run: which job type, and how
// River is to treat the job.
type JobSpec struct {
	Kind        string
	Queue       string
	MaxAttempts int
	Priority    int // River's 1 (first) to 4 (last)
}

// JobArgs are the arguments of every job of ours in River's table. They name a
// run and hold nothing of the event itself, so no personal data gets there.
//
// One Go type serves all job types: the kind is a field that is not serialized,
// because River keeps it in a column of its own.
type JobArgs struct {
	EventKey lumin.EventKey `json:"event_key"`
	ReplayID int64          `json:"replay_id"`

	JobKind string `json:"-"`
}

// Kind implements river.JobArgs.
func (a JobArgs) Kind() string { return a.JobKind }
