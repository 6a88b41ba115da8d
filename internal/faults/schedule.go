//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgproxy"
)

// burst is the largest number of faults close together. After each burst all
// work must finish.
const burst = 3

// draw is one fault of a burst, with all its random decisions.
type draw struct {
	fault Fault
	shot  shot
	gap   time.Duration // until the next one
}

// schedule draws bursts of faults. It does not read the state of the run, so
// the same seed always draws the same bursts.
type schedule struct {
	r    *runner
	rng  *rand.Rand
	left []Fault // not yet drawn, if all are injected in order in one burst
}

func newSchedule(r *runner) *schedule {
	return &schedule{r: r, rng: rand.New(rand.NewPCG(r.cfg.Seed, 1<<32)), left: r.cfg.Faults}
}

// next draws a burst and the time to wait before it. An empty burst ends the
// schedule.
func (s *schedule) next() (wait time.Duration, drawn []draw) {
	wait = between(s.rng, 500*time.Millisecond, 2*time.Second)
	var chosen []Fault
	switch {
	case !s.r.cfg.InOrder:
		for range 1 + s.rng.IntN(burst) {
			chosen = append(chosen, s.r.cfg.Faults[s.rng.IntN(len(s.r.cfg.Faults))])
		}
	default:
		chosen, s.left = s.left, nil
	}
	for _, f := range chosen {
		drawn = append(drawn, draw{f, f.choose(s.r, s.rng), between(s.rng, 100*time.Millisecond, 3*time.Second)})
	}
	return wait, drawn
}

// injectAll injects the faults and watches the recovery from each.
func (r *runner) injectAll(ctx context.Context) error {
	for plan := newSchedule(r); r.cfg.InOrder || time.Since(r.started) < r.cfg.Length; {
		wait, drawn := plan.next()
		if len(drawn) == 0 {
			return nil
		}
		pause(ctx, wait)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.injectBurst(ctx, drawn); err != nil {
			return err
		}
	}
	return nil
}

// injectBurst injects some faults, one soon after the other. It returns when
// all work that was acknowledged before their ends is done.
func (r *runner) injectBurst(ctx context.Context, drawn []draw) error {
	bound := usualBound
	var watches sync.WaitGroup
	defer watches.Wait()
	var rows []*Row
	for n, d := range drawn {
		if n > 0 {
			pause(ctx, drawn[n-1].gap)
		}
		if d.fault.Slow {
			bound = killedBound
		}
		row, err := r.inject(ctx, d)
		if errors.Is(err, errMissed) {
			continue
		}
		if err != nil {
			return err
		}
		rows = append(rows, row)
		watches.Go(func() { r.watch(ctx, row) })
		if d.shot.after != nil {
			if err := d.shot.after(ctx); err != nil {
				return fmt.Errorf("clean up after %s: %w", d.fault.Name, err)
			}
		}
	}
	watches.Wait()
	if len(rows) == 0 {
		return nil
	}
	// If neither side ended these connections, they would use up the server's
	// limit.
	r.servers.each((*pgproxy.Proxy).CutSilent)
	r.judge(ctx, rows, bound)
	return nil
}

// inject injects one fault and returns when it has ended. A fault that missed has
// no row.
func (r *runner) inject(ctx context.Context, d draw) (*Row, error) {
	row := &Row{Fault: d.fault.Name, What: d.shot.what, At: time.Since(r.started)}
	r.mu.Lock()
	r.rows = append(r.rows, row)
	r.mu.Unlock()
	r.note("%s: %s", row.Fault, row.What)
	if err := d.shot.do(ctx); err != nil {
		if errors.Is(err, errMissed) {
			r.note("%s: %v, and does not count", row.Fault, err)
			r.mu.Lock()
			r.rows = slices.DeleteFunc(r.rows, func(one *Row) bool { return one == row })
			r.mu.Unlock()
		}
		return nil, fmt.Errorf("inject %s (%s): %w", row.Fault, row.What, err)
	}
	row.ended = time.Now()
	row.Lasted = row.ended.Sub(r.started.Add(row.At))
	return row, nil
}

// judge compares the recovery after the last fault of a burst with the bound.
func (r *runner) judge(ctx context.Context, rows []*Row, bound time.Duration) {
	end := rows[len(rows)-1].ended
	for _, row := range rows {
		row.Bound, row.burstEnd = bound, end
		for _, what := range []struct {
			name string
			took time.Duration
		}{
			{"the first 200", row.FirstAck}, {"the last effect", row.LastEffect}, {"readiness", row.Ready},
		} {
			back := row.ended.Add(what.took).Sub(end)
			if what.took == never {
				r.problem("%s: %s did not happen within %s (%s)", row.Fault, what.name, giveUp, row.What)
				r.describeBacklog(ctx)
				return
			}
			if back > bound {
				r.problem("%s: %s happened %s after the last fault, more than %s (%s)", row.Fault, what.name, back.Round(time.Millisecond), bound, row.What)
			}
		}
	}
}

// watch measures three times after a fault: until deliveries are answered 200,
// until every program is ready, and until the backlog is gone. Then all
// deliveries from before the end of the fault are acknowledged, and no run from
// before it is pending or parked.
func (r *runner) watch(ctx context.Context, row *Row) {
	row.FirstAck, row.LastEffect, row.Ready = never, never, never
	explained := false
	for time.Since(row.ended) < giveUp && ctx.Err() == nil {
		began := time.Now()
		if row.FirstAck == never {
			if at, found := r.ledger.firstAck(row.ended); found {
				row.FirstAck = at.Sub(row.ended)
			}
		}
		if row.Ready == never && r.allReady(ctx) {
			row.Ready = time.Since(row.ended)
		}
		if row.LastEffect == never && r.ledger.unanswered(row.ended) == 0 && r.backlog(ctx, row.ended) == 0 {
			row.LastEffect = time.Since(row.ended)
		}
		if row.FirstAck != never && row.LastEffect != never && row.Ready != never {
			return
		}
		if !explained && time.Since(row.ended) > explainAfter {
			explained = true
			r.logOpenWork(ctx, fmt.Sprintf("%s after %s", explainAfter, row.Fault))
		}
		pause(ctx, max(100*time.Millisecond, 4*time.Since(began))) // a count of a long backlog must not be a load
	}
}

// backlog counts the runs that have been pending or parked since before a given
// time. It returns -1 if the server does not answer. Replayed runs do not count:
// their jobs have a lower priority than those of new deliveries, so on a busy
// machine they wait until the load ends. Neither do ordered runs behind a run that
// failed: they wait for its replay, which is ordered at a random time. settle waits
// for all of them.
func (r *runner) backlog(ctx context.Context, before time.Time) int {
	count := -1
	err := r.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, backlogSQL, before, OrderedKind).Scan(&count)
	})
	if err != nil {
		return -1
	}
	return count
}

const backlogSQL = `
SELECT count(*) FROM lumin.runs r
WHERE r.state IN ('pending', 'parked') AND r.replay_id = 0 AND r.pending_since <= $1
  AND (r.job_kind <> $2 OR NOT EXISTS (
      SELECT FROM lumin.events own
      JOIN lumin.events e ON e.signature_request_id = own.signature_request_id AND e.event_key <> r.event_key
      JOIN lumin.runs held ON held.event_key = e.event_key AND held.job_kind = r.job_kind
      WHERE own.id = r.event_id AND (held.state = 'failed' OR held.replay_id <> 0)))`

func (r *runner) allReady(ctx context.Context) bool {
	for _, p := range r.programs {
		if p.ready(ctx) != nil {
			return false
		}
	}
	return true
}

// describeBacklog adds the open work and its causes to the problems.
func (r *runner) describeBacklog(ctx context.Context) {
	why, err := r.explain(ctx)
	if err != nil {
		why = append(why, fmt.Sprintf("the server did not answer: %v", err))
	}
	r.problem("open work:\n    %s", strings.Join(why, "\n    "))
}

// logOpenWork logs the open work and its causes.
func (r *runner) logOpenWork(ctx context.Context, when string) {
	if why, err := r.explain(ctx); err == nil {
		r.note("%s:\n    %s", when, strings.Join(why, "\n    "))
	}
}

// explainAfter is how long a recovery may take before its state is logged.
// explainBound bounds that logging.
const (
	explainAfter = 15 * time.Second
	explainBound = 30 * time.Second
)

// explain lists unready programs, pending work, and sessions that wait for
// locks.
func (r *runner) explain(ctx context.Context) ([]string, error) {
	var found []string
	for _, p := range r.programs {
		if err := p.ready(ctx); err != nil {
			found = append(found, fmt.Sprintf("program %s: %v", p.name, err))
		}
	}
	if n := r.ledger.unanswered(time.Now().Add(-explainAfter)); n > 0 {
		found = append(found, fmt.Sprintf("%d deliveries have been repeated for %s", n, explainAfter))
	}
	err := r.servers.queryWithin(ctx, explainBound, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, explainSQL, login)
		if err != nil {
			return err
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		found = append(found, lines...)
		return err
	})
	return found, err
}

// explainSQL groups the open work, and lists long transactions.
const explainSQL = `
SELECT format('%s runs of %s are %s, their jobs %s, the oldest since %s; an error: %s', count(*), r.job_kind, r.state,
       coalesce(j.state::text, 'missing'), min(r.pending_since), max(r.error))
FROM lumin.runs r LEFT JOIN lumin.river_job j ON j.id = r.job_id
WHERE r.state <> 'succeeded' GROUP BY r.job_kind, r.state, j.state
UNION ALL
SELECT format('the oldest: %s of %s, replay %s, pending since %s; job %s is %s in attempt %s, scheduled for %s', o.job_kind, o.event_key,
       o.replay_id, o.pending_since, j.id, j.state, j.attempt, j.scheduled_at)
FROM (SELECT * FROM lumin.runs WHERE state = 'pending' ORDER BY pending_since LIMIT 3) o
LEFT JOIN lumin.river_job j ON j.id = o.job_id
UNION ALL
SELECT format('replay %s is %s: %s', id, state, error) FROM lumin.replays WHERE finished_at IS NULL
UNION ALL
SELECT format('backend %s is %s since %s, waits for %s of %s: %s', pid, state, now() - state_change, wait_event,
       pg_blocking_pids(pid), left(regexp_replace(query, '\s+', ' ', 'g'), 80))
FROM pg_stat_activity WHERE usename = $1 AND xact_start < now() - interval '3 seconds'`
