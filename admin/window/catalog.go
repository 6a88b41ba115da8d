package window

import (
	"context"
	"encoding/hex"
	"time"

	"lumin-ingest/store/audit"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/operate"
)

// KeyUse is how long a key has verified deliveries of a source.
type KeyUse struct {
	Source  string    `json:"source"`
	KeyID   string    `json:"key_id"`
	FirstAt time.Time `json:"first_used_at"`
	LastAt  time.Time `json:"last_used_at"`
}

// Keys lists the keys that the stored events were signed with.
func (w *Window) Keys(ctx context.Context) (keys []KeyUse, err error) {
	uses, err := audit.KeysUsed(ctx, w.pool)
	for _, use := range uses {
		keys = append(keys, KeyUse(use))
	}
	return keys, err
}

// Program is a program that receives or works on this database.
type Program struct {
	ID          string    `json:"id"`
	Host        string    `json:"host"`
	PID         int       `json:"pid"`
	Role        string    `json:"role"` // all, ingest or worker
	JobTypes    []string  `json:"job_types"`
	Version     string    `json:"version"` // empty for programs too old to record it
	StartedAt   time.Time `json:"started_at"`
	LastSeen    time.Time `json:"last_seen_at"`
	OtherKinds  []string  `json:"other_kinds"`
	Stuck       []string  `json:"stuck"` // queues that have no worker left
	Connections int       `json:"connections"`
}

// Programs lists the programs that are running, the oldest first.
func (w *Window) Programs(ctx context.Context) (programs []Program, err error) {
	running, err := catalog.Programs(ctx, w.pool, catalog.SeenWithin)
	for _, p := range running {
		programs = append(programs, Program{
			ID: hex.EncodeToString(p.ID[:]), Host: p.Host, PID: p.PID, Role: p.Role, JobTypes: p.Kinds, Version: p.Version,
			StartedAt: p.StartedAt, LastSeen: p.LastSeen, OtherKinds: p.OtherKinds, Stuck: p.Stuck, Connections: p.Connections,
		})
	}
	return programs, err
}

// PauseQueue makes programs take no further jobs from a queue. The error is
// [store.ErrNotFound] if no program has used it.
func (w *Window) PauseQueue(ctx context.Context, queue, reason string) error {
	return w.operator.PauseQueue(ctx, w.by, queue, reason)
}

// ResumeQueue ends a pause.
func (w *Window) ResumeQueue(ctx context.Context, queue, reason string) error {
	return w.operator.ResumeQueue(ctx, w.by, queue, reason)
}

// AuditLog lists changes that people made, the newest first.
func (w *Window) AuditLog(ctx context.Context, f operate.Filter) ([]operate.Row, error) {
	return w.operator.List(ctx, f)
}
