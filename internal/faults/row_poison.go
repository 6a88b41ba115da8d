//go:build unix

package faults

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// strangeKind is a kind of jobs that no program knows.
const strangeKind = "faults_nobody_knows"

// poisonScenario is T13.
func poisonScenario() Scenario {
	return Scenario{
		ID: "T13", Name: "job types that panic, ignore their context or fail with a NUL byte, and a job of an unknown kind",
		Size: "2 min without and 2 min with poison; visible as failed; p99 of the neighbors' effects < 2 × normal",
		setup: setup{
			programs: 2, rate: 30, poison: true, noReplays: true,
			env: []string{SteadyVariable + "=1", "WORKERS=16"},
		},
		inject: func(ctx context.Context, s *scene) error {
			length := s.span(2*time.Minute, 20*time.Second)
			pause(ctx, 5*time.Second) // the connections are made
			normal, err := s.neighbors(ctx, length)
			if err != nil {
				return err
			}
			var poisoned float64
			err = s.hit(ctx, "poison", func(ctx context.Context) error {
				if err := s.poisoned(true); err != nil {
					return err
				}
				if err := s.servers.exec(ctx, `INSERT INTO lumin.river_job (args, kind, max_attempts) VALUES ('{}', '`+strangeKind+`', 3)`); err != nil {
					return err
				}
				poisoned, err = s.neighbors(ctx, length)
				return err
			})
			if err != nil {
				return err
			}
			s.out.figure("p99 from the event to the effects of the other job types, normal", normal, "ms")
			s.atMost("p99 from the event to the effects of the other job types, with poison", poisoned, 2*normal, "ms")
			if err := s.visible(ctx); err != nil {
				return err
			}
			err = s.servers.exec(ctx, `DELETE FROM lumin.river_job WHERE kind = '`+strangeKind+`'`)
			if err == nil {
				err = s.poisoned(false)
			}
			return err
		},
	}
}

// neighbors waits and returns the 99th percentile of the time from the record
// of an event to its effect, of the job types that are in order, in
// milliseconds. For an effect that is not there yet, it is the time until now.
func (s *scene) neighbors(ctx context.Context, length time.Duration) (float64, error) {
	from := time.Now()
	pause(ctx, length)
	to := time.Now().Add(-2 * time.Second)
	var p99 float64
	var runs int
	err := s.servers.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT coalesce(1000 * percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM coalesce(f.at, clock_timestamp()) - e.received_at)), 0)::float8, count(*)
			FROM lumin.events e JOIN lumin.runs r ON r.event_id = e.id
			LEFT JOIN faults.effects f ON f.event_key = r.event_key AND f.job_kind = r.job_kind AND f.rerun = 0
			WHERE e.received_at BETWEEN $1 AND $2 AND r.job_kind IN ('`+EffectKind+`', '`+BatchKind+`')`, from, to).Scan(&p99, &runs)
	})
	s.atLeast("runs of the other job types that were measured", float64(runs), 1)
	return p99, err
}

// visible checks that operators can see each kind of poison.
func (s *scene) visible(ctx context.Context) error {
	var failed map[string]int
	err := s.await(ctx, "the poisoned runs have failed", time.Minute, func() bool {
		err := s.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, `SELECT job_kind, count(*) FROM lumin.failed_runs GROUP BY job_kind`)
			if err != nil {
				return err
			}
			failed = map[string]int{}
			var kind string
			var count int
			_, err = pgx.ForEachRow(rows, []any{&kind, &count}, func() error {
				failed[kind] = count
				return nil
			})
			return err
		})
		return err == nil && failed[PanicKind] > 0 && failed[NULKind] > 0 && failed[HangKind] > 0
	})
	if err != nil {
		return fmt.Errorf("%w: %v", err, failed)
	}
	for _, kind := range []string{PanicKind, NULKind, HangKind} {
		s.atLeast("runs of "+kind+" that are visible as failed", float64(failed[kind]), 1)
	}
	doctor := exec.CommandContext(ctx, s.cfg.Program[0], "doctor")
	doctor.Env = s.programs[0].environment("all")
	stdin, err := doctor.StdinPipe() // the program ends with it
	if err != nil {
		return err
	}
	defer func() { _ = stdin.Close() }()
	text, _ := doctor.CombinedOutput() // it exits with an error when it finds something
	shown := 0.0
	if strings.Contains(string(text), strangeKind) {
		shown = 1
	}
	s.atLeast("the job of an unknown kind is shown by doctor", shown, 1)
	if shown == 0 {
		s.note("doctor: %s", fmt.Sprintf("%.2000s", text))
	}
	return nil
}
