package alerts

import (
	"strings"
	"time"
)

// The conditions. Each is the first part of the keys of its alerts.
const (
	Failure      = "failure"       // runs of a job type have failed with an error
	Backlog      = "backlog"       // a queue is not worked fast enough
	Silence      = "silence"       // a source has been quiet for longer than ever
	Downloadable = "downloadable"  // a contract was approved and cannot be downloaded
	Lane         = "lane"          // a failed run holds later events
	Late         = "late"          // late events wait for a decision
	Housekeeping = "housekeeping"  // the sweep or retention has stopped
	Workers      = "workers"       // jobs that ignore their timeout hold a queue
	Connections  = "connections"   // the server is short of connections
	DatabaseSize = "database_size" // the database is larger than it should be

	Mismatch = "mismatch" // signatures of a source do not match: a rotated key

	// Certificate is about that of a public listener. Only its program can know, and
	// reports it with [Report].
	Certificate = "certificate"
)

// Alert is one condition that holds.
type Alert struct {
	Key  string `json:"key"`  // the condition and what it is about, such as lane/book_revenue
	Text string `json:"text"` // one line: what is wrong, and in the last sentence what to do
	Page string `json:"page"` // of the dashboard, as a path; "" if none fits
}

// Condition is the first part of the key.
func (a Alert) Condition() string {
	condition, _, _ := strings.Cut(a.Key, "/")
	return condition
}

// Open is an alert with what is known about it. The text of a resolved one does not
// say what to do. Times are the database's.
type Open struct {
	Alert
	Since      time.Time  `json:"since"`       // when the condition was first found
	SeenAt     time.Time  `json:"seen_at"`     // when it was last found
	SentAt     *time.Time `json:"sent_at"`     // when a message about it was last sent; nil: never
	ResolvedAt *time.Time `json:"resolved_at"` // when it was first not found; nil while it holds
}

// Limits are the limits above which a condition holds. The zero value means the
// defaults.
type Limits struct {
	Backlog      time.Duration // how long a due job may wait for a worker; 0 means 10 minutes
	DatabaseSize int64         // bytes; 0 means that the size is not examined
}

const (
	defaultBacklog = 10 * time.Minute

	// heldFor is how long a lane may be held. doctor reports a lane after the same
	// time.
	heldFor = 5 * time.Minute

	// maxFailureGroups bounds the list of groups of failed runs.
	maxFailureGroups = 100
)
