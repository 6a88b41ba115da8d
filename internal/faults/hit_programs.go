//go:build unix

package faults

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// hitWork measures when each program that a fault has hit worked again, by what it
// did itself: others may work all the time. It reports whether all of them have.
func (s *scene) hitWork(ctx context.Context, row *Row) bool {
	if len(row.hits) == 0 {
		return true
	}
	if at, found := s.hitsAcked(row); found {
		row.hitAck = at.Sub(row.ended)
	}
	if row.hitEffect == unmeasured {
		if at, found := s.hitsWorked(ctx, row); found {
			row.hitEffect = at.Sub(row.ended)
		}
	}
	return row.hitAck != unmeasured && row.hitEffect != unmeasured
}

// hitsAcked returns when the last of the programs had answered its first 200.
func (s *scene) hitsAcked(row *Row) (last time.Time, found bool) {
	for _, p := range row.hits {
		url := p.url()
		if url == "" { // it has not logged its address
			return last, false
		}
		at, found := s.ledger.firstAckOf(url, row.ended)
		if !found {
			return last, false
		}
		last = later(last, at)
	}
	return last, true
}

// hitsWorked returns when the last of the programs had its first effect.
func (s *scene) hitsWorked(ctx context.Context, row *Row) (last time.Time, found bool) {
	var names []string
	for _, p := range row.hits {
		names = append(names, p.name)
	}
	err := s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		last, found, err = firstEffects(ctx, conn, names, row.ended)
		return err
	})
	return last, err == nil && found
}

// firstEffects returns when the last of some programs had its first effect in a
// transaction that began after a time.
func firstEffects(ctx context.Context, conn *pgx.Conn, names []string, after time.Time) (last time.Time, found bool, err error) {
	var (
		at      *time.Time
		working int
	)
	err = conn.QueryRow(ctx, `
		SELECT max(first), count(*)
		FROM (SELECT min(at) AS first FROM faults.effects WHERE program = ANY ($1) AND tx_began > $2 GROUP BY program) f`,
		names, after).Scan(&at, &working)
	if err != nil || working < len(names) {
		return last, false, err
	}
	return *at, true, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// finishHits adds the times of the programs that were hit, for each kind of fault.
func (s *scene) finishHits() {
	seen := map[string]bool{}
	for _, row := range s.rows {
		if len(row.hits) == 0 || seen[row.Fault] {
			continue
		}
		seen[row.Fault] = true
		of := func(measured func(*Row) time.Duration) func(*Row) time.Duration {
			return func(one *Row) time.Duration {
				if one.Fault != row.Fault {
					return unmeasured
				}
				return measured(one)
			}
		}
		s.worst(row.Fault+": first 200 of the programs that were hit", s.scenario.first200, of(func(one *Row) time.Duration { return one.hitAck }))
		s.worst(row.Fault+": first effect of the programs that were hit", s.scenario.working, of(func(one *Row) time.Duration { return one.hitEffect }))
	}
}

// worst adds the worst of a time of some faults. Each beyond the bound is a problem.
func (s *scene) worst(name string, bound time.Duration, of func(*Row) time.Duration) {
	if times := s.spread(name, bound, of); times != nil {
		s.out.Measures = append(s.out.Measures, Measure{
			Name: fmt.Sprintf("%s, worst of %d", name, times.N), Value: times.Worst, Unit: "s", Bound: fmt.Sprintf("≤ %.4g", times.Bound),
		})
	}
}
