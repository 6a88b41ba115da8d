//go:build unix

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// This file is for drills: the program and its servers run elsewhere, and a
// script breaks them. A drill works events with [EffectKind] and the job type
// that comes with the program.

// Environment returns the variables with the secrets for which deliveries are
// signed.
func Environment() map[string]string {
	return map[string]string{"LUMIN_ACCOUNT_API_KEYS": accountKey, "LUMIN_APP_SECRETS": "demo=" + appSecret}
}

// Prepare creates the tables that a drill needs in a migrated database.
func Prepare(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, schemaSQL); err != nil {
		return fmt.Errorf("create the tables of the drill: %w", err)
	}
	return nil
}

// Sender sends deliveries to a program, as Lumin would.
type Sender struct {
	URL    string
	Seed   uint64
	Rate   int    // new events per second
	Once   bool   // acknowledged deliveries are never sent again; otherwise a fifth of them are
	Again  []Sent // deliveries of an earlier sender; those with a body are sent first
	Ledger *Ledger
}

// Run sends until sending ends. It then repeats what has no 200 yet, until ctx
// ends.
func (s Sender) Run(ctx, sending context.Context) {
	c := newClients(s.Ledger, s.Seed, s.Rate, func() []string { return []string{s.URL} })
	c.once = s.Once
	for _, one := range s.Again {
		if one.Body != nil {
			c.redeliver(&Delivery{Key: one.Key, Source: one.Source, Body: one.Body}, 0)
		}
	}
	c.run(ctx, sending)
}

// LongestPause returns the longest time between two answers 200.
func (l *Ledger) LongestPause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var longest time.Duration
	for n := 1; n < len(l.acks); n++ {
		longest = max(longest, l.acks[n].answered.Sub(l.acks[n-1].answered))
	}
	return longest
}

// Sent is what the clients know of one delivery.
type Sent struct {
	Key      lumin.EventKey `json:"event"`
	Source   string         `json:"source"`
	SHA256   []byte         `json:"sha256"`
	Forged   bool           `json:"forged,omitempty"`
	Acks     int            `json:"acks"`
	Attempts int            `json:"attempts"`
	EventID  int64          `json:"id,omitempty"`    // of the first 200
	AckedAt  *time.Time     `json:"acked,omitempty"` // when the first 200 was received
	Body     []byte         `json:"body,omitempty"`  // of a delivery that must be sent again
}

// WriteSent writes a line for each delivery of a ledger to a new file.
func (l *Ledger) WriteSent(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(file)
	for id, e := range l.deliveries {
		one := Sent{Key: id.key, Source: id.source, SHA256: e.sha256[:], Forged: e.forged, Acks: e.acks, Attempts: e.attempts, EventID: e.id, AckedAt: e.acked}
		if _, open := l.open[id]; open {
			one.Body = e.body
		}
		if err := lines.Encode(one); err != nil {
			return errors.Join(fmt.Errorf("write the deliveries: %w", err), file.Close())
		}
	}
	return file.Close()
}

// ReadSent reads files that WriteSent has written. A delivery that is in several
// becomes one.
func ReadSent(paths ...string) ([]Sent, error) {
	all := map[identity]Sent{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for lines := json.NewDecoder(bytes.NewReader(text)); lines.More(); {
			var one Sent
			if err := lines.Decode(&one); err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
			if before, known := all[identity{one.Key, one.Source}]; known {
				one.Attempts += before.Attempts
				if before.Acks > 0 {
					one.Acks, one.EventID, one.AckedAt = one.Acks+before.Acks, before.EventID, before.AckedAt
				}
			}
			all[identity{one.Key, one.Source}] = one
		}
	}
	return slices.Collect(maps.Values(all)), nil
}

// Comparison is what a drill found.
type Comparison struct {
	Acknowledged int // deliveries
	Events       int // in the database
	Effects      int
	Violations   []Violation

	lost map[identity]bool // acknowledged after the limit, and not stored
}

// Lost counts the deliveries that were lost, of those given.
func (c *Comparison) Lost(of []Sent) int {
	n := 0
	for _, one := range of {
		if c.lost[identity{one.Key, one.Source}] {
			n++
		}
	}
	return n
}

// Compare compares a database with the deliveries that were sent. Deliveries
// that were first acknowledged after a limit may be lost: they are counted, and
// otherwise treated as never acknowledged. It leaves nothing in the database.
func Compare(ctx context.Context, conn *pgx.Conn, sent []Sent, limit time.Time) (*Comparison, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	c := &Comparison{lost: map[identity]bool{}}
	if err := loadSent(ctx, tx, sent); err != nil {
		return nil, err
	}
	if err := tx.QueryRow(ctx, `
		SELECT (SELECT count(*) FROM faults.ledger WHERE acks > 0), (SELECT count(*) FROM lumin.events), (SELECT count(*) FROM faults.effects)`,
	).Scan(&c.Acknowledged, &c.Events, &c.Effects); err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	rows, err := tx.Query(ctx, `
		UPDATE faults.ledger l SET acks = 0
		WHERE acks > 0 AND acked_at > $1
		  AND NOT EXISTS (SELECT FROM lumin.events e WHERE e.event_key = l.event_key AND e.source = l.source)
		RETURNING event_key, source`, limit)
	if err != nil {
		return nil, fmt.Errorf("count what is lost: %w", err)
	}
	var key [16]byte
	var source string
	if _, err := pgx.ForEachRow(rows, []any{&key, &source}, func() error {
		c.lost[identity{key, source}] = true
		return nil
	}); err != nil {
		return nil, fmt.Errorf("count what is lost: %w", err)
	}
	c.Violations, err = Check(ctx, tx)
	return c, err
}

// loadSent fills the tables that the checks compare with the program's.
func loadSent(ctx context.Context, tx pgx.Tx, sent []Sent) error {
	var rows [][]any
	for _, one := range sent {
		rows = append(rows, []any{[16]byte(one.Key), one.Source, one.SHA256, one.Forged, one.Acks, one.Attempts, one.EventID, one.AckedAt})
	}
	for _, t := range []struct {
		table   string
		columns []string
		rows    [][]any
	}{
		{"kinds", []string{"kind", "effects", "calls"}, [][]any{{EffectKind, true, false}, {stateKind, false, false}}},
		{"ledger", []string{"event_key", "source", "payload_sha256", "forged", "acks", "attempts", "event_id", "acked_at"}, rows},
	} {
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"faults", t.table}, t.columns, pgx.CopyFromRows(t.rows)); err != nil {
			return fmt.Errorf("load faults.%s: %w", t.table, err)
		}
	}
	return nil
}
