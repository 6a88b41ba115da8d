package alerts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

const (
	// repeatAfter is when a message about an alert that still holds is sent again.
	repeatAfter = 24 * time.Hour

	// calmFor is how long a condition must not hold before a message says so, so that
	// one that comes and goes causes one message.
	calmFor = 5 * time.Minute

	// lookedLately is how long ago an alert may have last been found to be repeated:
	// some looks. What is no longer known is not said again.
	lookedLately = 3 * ReportEvery

	// sureAfter is how long an alert about housekeeping must have held to be sent.
	// After an outage of the database, River elects the program that enqueues the
	// sweep within a minute or two.
	sureAfter = 3 * time.Minute

	// After a message that was not accepted, the next one waits for a minute, then
	// two, four, and so on up to an hour.
	firstPause   = time.Minute
	longestPause = time.Hour
)

// Hold makes a program the one that examines and sends, for the given time, unless
// another is. It reports whether it is. A program that takes over may reach the webhook
// or have the right URL, so a pause after a failure ends within [firstPause] then.
func Hold(ctx context.Context, pool *pgxpool.Pool, program [16]byte, length time.Duration) (bool, error) {
	return hold(ctx, pool, program, length, 0)
}

// Watch makes a program the one that examines and sends nothing, unless another has
// examined within the given time. It reports whether it is. A program that calls
// Hold takes over at once.
func Watch(ctx context.Context, pool *pgxpool.Pool, program [16]byte, within time.Duration) (bool, error) {
	return hold(ctx, pool, program, 0, within)
}

func hold(ctx context.Context, pool *pgxpool.Pool, program [16]byte, length, patience time.Duration) (bool, error) {
	tag, err := pool.Exec(ctx, `
		INSERT INTO lumin.alert_sending AS s (holder, held_until) VALUES ($1, now() + make_interval(secs => $2))
		ON CONFLICT (single) DO UPDATE SET holder = EXCLUDED.holder, held_until = EXCLUDED.held_until,
		    next_at = CASE WHEN s.holder = EXCLUDED.holder THEN s.next_at ELSE least(s.next_at, now() + make_interval(secs => $4)) END
		WHERE s.holder = EXCLUDED.holder OR s.held_until < now() - make_interval(secs => $3)`,
		program, length.Seconds(), patience.Seconds(), firstPause.Seconds())
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == pgerrcode.LockNotAvailable: // another program is sending
		return false, nil
	case err != nil:
		return false, fmt.Errorf("become the program that examines alerts: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// Release lets another program take over at once.
func Release(ctx context.Context, pool *pgxpool.Pool, program [16]byte) error {
	if _, err := pool.Exec(ctx, `UPDATE lumin.alert_sending SET held_until = '-infinity' WHERE holder = $1`, program); err != nil {
		return fmt.Errorf("leave the alerts to another program: %w", err)
	}
	return nil
}

// Message is what is due to be sent.
type Message struct {
	Raised   []Open // new ones, and those of which a message must be repeated
	Resolved []Open
}

// Sending is how sending goes.
type Sending struct {
	LookedAt *time.Time `json:"looked_at"` // when a program last looked for something to send; nil: never
	Failures int        `json:"failures"`  // messages that were not accepted since one was
	NextAt   *time.Time `json:"next_at"`   // when the next one is tried; nil if none has failed
	Error    string     `json:"error"`     // of the last one; "" if it was accepted

}

// Send sends what is due, and stores that it was sent. It does nothing unless the
// program holds the sending, or while sending is paused after a failure. If send
// fails, that is stored, and its error is returned.
//
// Both happen in one transaction, which no other program can have at the same time.
// If the program ends between the two, or loses its connection, the next message
// repeats this one.
func Send(ctx context.Context, pool *pgxpool.Pool, program [16]byte, send func(context.Context, Message) error) (sent bool, err error) {
	var refused error
	err = pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) error {
		var failures int
		err := tx.QueryRow(ctx, `
			UPDATE lumin.alert_sending SET looked_at = now() WHERE holder = $1 AND next_at <= now() RETURNING failures`, program).Scan(&failures)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		message, err := due(ctx, tx)
		if err != nil || len(message.Raised)+len(message.Resolved) == 0 {
			return err
		}
		if refused = send(ctx, message); refused != nil {
			return noteFailure(ctx, tx, failures, refused)
		}
		sent = true
		return noteSent(ctx, tx, message)
	})
	if err != nil {
		return false, fmt.Errorf("send alerts: %w", err)
	}
	return sent, refused
}

// due returns what there is to send.
func due(ctx context.Context, tx pgx.Tx) (m Message, err error) {
	m.Raised, err = query.Rows(ctx, tx, "find new alerts", scanOpen, openSQL+`
		WHERE resolved_at IS NULL
		  AND (sent_at IS NULL AND (condition <> $4 OR seen_at >= since + make_interval(secs => $3))
		       OR sent_at < now() - make_interval(secs => $1) AND seen_at > now() - make_interval(secs => $2))
		ORDER BY since, key`, repeatAfter.Seconds(), lookedLately.Seconds(), sureAfter.Seconds(), Housekeeping)
	if err != nil {
		return m, err
	}
	m.Resolved, err = query.Rows(ctx, tx, "find resolved alerts", scanOpen, openSQL+`
		WHERE resolved_sent_at IS NULL AND resolved_at < now() - make_interval(secs => $1) ORDER BY since, key`, calmFor.Seconds())
	return m, err
}

func noteSent(ctx context.Context, tx pgx.Tx, m Message) error {
	batch := &pgx.Batch{}
	batch.Queue(`UPDATE lumin.alerts SET sent_at = now() WHERE key = ANY ($1)`, keysOf(m.Raised))
	batch.Queue(`UPDATE lumin.alerts SET resolved_sent_at = now() WHERE key = ANY ($1)`, keysOf(m.Resolved))
	batch.Queue(`UPDATE lumin.alert_sending SET failures = 0, next_at = '-infinity', error = ''`)
	return tx.SendBatch(ctx, batch).Close()
}

func keysOf(alerts []Open) []string {
	keys := make([]string, len(alerts))
	for i, a := range alerts {
		keys[i] = a.Key
	}
	return keys
}

func noteFailure(ctx context.Context, tx pgx.Tx, failures int, cause error) error {
	_, err := tx.Exec(ctx, `UPDATE lumin.alert_sending SET failures = $1, next_at = now() + make_interval(secs => $2), error = $3`,
		failures+1, pauseAfter(failures).Seconds(), cause.Error())
	return err
}

// pauseAfter is the pause after a message that was not accepted, as the next one
// after so many.
func pauseAfter(failures int) time.Duration {
	return min(firstPause<<min(failures, 10), longestPause)
}

// ReadSending reads how sending goes.
func ReadSending(ctx context.Context, pool *pgxpool.Pool) (s Sending, err error) {
	err = pool.QueryRow(ctx, `
		SELECT max(looked_at), coalesce(max(failures), 0), max(next_at) FILTER (WHERE failures > 0), coalesce(max(error), '')
		FROM lumin.alert_sending`).Scan(&s.LookedAt, &s.Failures, &s.NextAt, &s.Error)
	if err != nil {
		return s, fmt.Errorf("read how the sending of alerts goes: %w", err)
	}
	return s, nil
}
