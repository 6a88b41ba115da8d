//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Answers is the invariant of the answers that the clients received.
const Answers = "A: no answer contradicts an earlier one, is late, or accepts a forged delivery"

// always lists the invariants that hold at every moment of a run.
//
//nolint:gochecknoglobals // a table
var always = []string{AckedOnce, RunOnce, EffectOnce, EffectOfRun, NoConflict, InOrder, OneAtATime}

// Caught says what noticed that a program is broken.
type Caught struct {
	After      time.Duration // since the first delivery
	Faults     int           // injected until then
	Events     int           // deliveries acknowledged until then
	Checks     int           // completed until then
	Violations []Violation
}

// catchPause is the time between two checks.
const catchPause = 500 * time.Millisecond

// Catch runs a program under load and faults, as Run does, and checks all the
// time what must hold at every moment. It ends as soon as something does not, or
// after cfg.Length. Use it to show that the checks notice programs that are
// broken on purpose. The statements of schema break the database.
func Catch(ctx context.Context, cfg Config, schema ...string) (caught Caught, err error) {
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	r := &runner{cfg: cfg, bothWork: true}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prepare(ctx); err != nil {
		return caught, err
	}
	if err := r.servers.exec(ctx, schema...); err != nil {
		return caught, err
	}
	r.started = time.Now()
	running, stop := context.WithTimeout(ctx, cfg.Length)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { r.clients.run(running, running) })
	all.Go(func() { r.replays.run(running) })
	all.Go(func() { r.looks.run(running) })
	injected := make(chan error, 1)
	all.Go(func() { injected <- r.injectOnly(running) })
	for running.Err() == nil {
		pause(running, catchPause)
		select {
		case err := <-injected:
			if running.Err() == nil {
				return caught, err
			}
		default:
		}
		caught.Violations, err = r.violations(ctx)
		if err == nil {
			caught.Checks++
		}
		r.mu.Lock()
		caught.Faults = len(r.rows)
		r.mu.Unlock()
		caught.After, caught.Events = time.Since(r.started), r.ledger.Counts().Acknowledged
		if len(caught.Violations) > 0 {
			return caught, nil
		}
	}
	return caught, err // of the last check
}

// injectOnly injects faults until ctx ends, and does not wait for the recovery
// from them: a broken program may have none.
func (r *runner) injectOnly(ctx context.Context) error {
	for plan := newSchedule(r); ctx.Err() == nil; {
		wait, drawn := plan.next()
		pause(ctx, wait)
		for _, d := range drawn {
			if ctx.Err() != nil {
				break
			}
			if _, err := r.inject(ctx, d); err != nil && !errors.Is(err, errMissed) {
				return err
			}
			pause(ctx, d.gap)
		}
	}
	return nil
}

// violations checks what must hold at every moment. An error means that the
// server did not answer.
func (r *runner) violations(ctx context.Context) (found []Violation, err error) {
	if answers := r.ledger.Unexpected(); len(answers) > 0 {
		found = append(found, Violation{Checker: Answers, Count: len(answers), Samples: answers[:min(len(answers), violationsShown)]})
	}
	err = r.servers.queryWithin(ctx, checkBound, func(ctx context.Context, conn *pgx.Conn) error {
		now, err := r.checkNow(ctx, conn)
		if err != nil {
			return err
		}
		histories, err := r.histories(ctx, conn)
		if err != nil {
			return err
		}
		result := Result{Violations: now}
		err = checkHistories(ctx, histories, &result)
		found = append(found, result.Violations...)
		return err
	})
	return found, err
}

// checkNow checks invariants on one snapshot of the database. The ledger is
// read before the snapshot is taken, so all that it knows must be there.
func (r *runner) checkNow(ctx context.Context, conn *pgx.Conn) (found []Violation, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := r.load(ctx, conn); err != nil {
		return nil, err
	}
	for _, c := range checkers {
		if !slices.Contains(always, c.Name) {
			continue
		}
		v, err := c.check(ctx, tx)
		if err != nil {
			return nil, err
		}
		if v.Count > 0 {
			found = append(found, v)
		}
	}
	return found, nil
}

// String says when which invariants were violated.
func (c Caught) String() string {
	noticed := "noticed:"
	if len(c.Violations) == 0 {
		noticed = "nothing was noticed"
	}
	text := fmt.Sprintf("after %s, %d faults, %d acknowledged deliveries and %d checks %s",
		c.After.Round(100*time.Millisecond), c.Faults, c.Events, c.Checks, noticed)
	for _, v := range c.Violations {
		text += "\n" + v.String()
	}
	return text
}
