package retention

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Pass goes once through everything that is too old when the pass is made. It
// remembers its position, so it reads each kept row once. A Pass is for one
// goroutine at a time.
type Pass struct {
	steps []*step // those that are not finished
	next  int
}

// step is what a pass does to one table.
type step struct {
	page     func(context.Context, pgx.Tx, *step) (page, error)
	pageSize int // rows that one transaction reads

	payloads, events time.Time // the cutoffs; see Policy.cutoffs
	table            string    // of orphansPage
	at               position
}

// page is the result of one transaction.
type page struct {
	removed Removed
	read    int // rows, including kept ones
	last    position
}

// position is the last row that a step has read.
type position struct {
	receivedAt time.Time
	id         int64
	key        [16]byte
}

const (
	// Small, because a locked event delays its deliveries.
	eventsPageSize = 500

	// Almost no row is an orphan, and no other session waits for the lock of
	// one.
	orphansPageSize = 5000
)

// NewPass returns a pass from the beginning. now should be the clock of the
// database.
func NewPass(policy Policy, now time.Time) *Pass {
	p := &Pass{}
	payloads, events := policy.cutoffs(now)
	if policy.Events > 0 {
		p.steps = append(p.steps, &step{page: eventsPage, pageSize: eventsPageSize, payloads: payloads, events: events})
		for _, table := range []string{"runs", "failures", "dismissals"} {
			p.steps = append(p.steps, &step{page: orphansPage, pageSize: orphansPageSize, events: events, table: table})
		}
	}
	if policy.Payloads > 0 {
		// Bodies of older events are removed by eventsPage.
		from := position{receivedAt: events}
		p.steps = append(p.steps, &step{page: bodiesPage, pageSize: eventsPageSize, payloads: payloads, at: from})
	}
	return p
}

// Finished reports whether the pass has read everything.
func (p *Pass) Finished() bool { return len(p.steps) == 0 }

// Run removes everything that is too old. It returns what it has removed, also
// together with an error. It may be interrupted and repeated at any time, and
// several calls may run at once.
func Run(ctx context.Context, pool *pgxpool.Pool, policy Policy, now time.Time) (total Removed, err error) {
	for pass := NewPass(policy, now); err == nil && !pass.Finished(); {
		var removed Removed
		removed, err = pass.Continue(ctx, pool, time.Minute)
		total.add(removed)
	}
	return total, err
}

// Continue works on the pass for about the given time and returns what it has
// removed meanwhile, also together with an error. After an error the pass can
// be continued.
func (p *Pass) Continue(ctx context.Context, pool *pgxpool.Pool, length time.Duration) (total Removed, err error) {
	for end := time.Now().Add(length); !p.Finished(); {
		start := time.Now()
		removed, err := p.nextPage(ctx, pool)
		if err != nil {
			return total, fmt.Errorf("remove old data: %w", err)
		}
		total.add(removed)
		// Idle for a third of the time: deliveries need the disk.
		select {
		case <-ctx.Done():
			return total, ctx.Err()
		case <-time.After(time.Since(start) / 2):
		}
		if time.Now().After(end) {
			break
		}
	}
	return total, nil
}

// beginPageSQL waits until no other pass is in a transaction: two at once would
// skip the rows that the other has locked. It does not wait for the disk at
// commit, because the next pass repeats a removal that a crash undoes. The
// number of the lock only has to differ from those of other advisory locks.
const beginPageSQL = `
SET LOCAL synchronous_commit = off;
SELECT pg_advisory_xact_lock(7812740336261935461)`

// nextPage does one transaction of one step. The steps take turns.
func (p *Pass) nextPage(ctx context.Context, pool *pgxpool.Pool) (Removed, error) {
	p.next %= len(p.steps)
	step := p.steps[p.next]
	var done page
	err := pgx.BeginTxFunc(ctx, pool, query.ReadCommitted, func(tx pgx.Tx) (err error) {
		if _, err := tx.Exec(ctx, beginPageSQL); err != nil {
			return fmt.Errorf("wait for another pass: %w", err)
		}
		done, err = step.page(ctx, tx, step)
		return err
	})
	if err != nil {
		return Removed{}, err
	}
	step.at = done.last
	if done.read < step.pageSize {
		p.steps = slices.Delete(p.steps, p.next, p.next+1)
	} else {
		p.next++
	}
	return done.removed, nil
}
