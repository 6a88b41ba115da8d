//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// upgradeScenario is T16. Both programs are of an older version. The migrations
// of the newer one are killed under traffic until they have come through. Then
// the programs are replaced one after the other.
func upgradeScenario() Scenario {
	return Scenario{
		ID: "T16", Name: "old and new program side by side during a migration; SIGKILL of the migration",
		Size: "up to 50 kills of the migration, a little later each time, until it comes through; 2 min side by side",
		setup: setup{
			programs: 2, rate: 40,
			prepare: func(_ context.Context, cfg *Config, o Options) (func(), error) {
				if o.Before == nil {
					return nil, errors.New("the program of an older version is missing")
				}
				cfg.commands = [][]string{o.Before, o.Before}
				cfg.migrate = func(ctx context.Context, url string) error { return migrateWith(ctx, cfg, o.Before[0], url) }
				return func() {}, nil
			},
		},
		inject: func(ctx context.Context, s *scene) error {
			if err := s.acknowledged(ctx, s.count(500, 50)); err != nil {
				return err
			}
			begin := time.Now()
			if err := s.killMigrations(ctx); err != nil {
				return err
			}
			for _, p := range s.programs {
				err := s.hit(ctx, "replace program "+p.name, func(ctx context.Context) error {
					return s.replace(ctx, p)
				})
				if err != nil {
					return err
				}
				if err := s.recover(ctx); err != nil {
					return err
				}
				pause(ctx, s.span(2*time.Minute, 10*time.Second)) // the first time, old and new are side by side
			}
			t := s.ledger.traffic(begin, time.Now(), nil)
			s.out.figure("deliveries answered 200 from the first migration on", float64(t.answered), "")
			s.out.figure("attempts answered 503 or not", float64(t.refused), "")
			s.out.figure("p99 of deliveries from the first migration on", milliseconds(t.p99), "ms")
			return nil
		},
	}
}

// latestKill is about as long as the migrations and the start of their program
// take.
const latestKill = 800 * time.Millisecond

// killMigrations runs the migrations and kills them, a little later each time,
// until they come through or were killed often enough.
func (s *scene) killMigrations(ctx context.Context) error {
	kills := s.count(50, 5)
	for n := range kills {
		done := false
		err := s.hit(ctx, "kill the migration", func(ctx context.Context) error {
			step := latestKill / time.Duration(kills)
			short, cancel := context.WithTimeout(ctx, time.Duration(n)*step+between(s.rng, 0, step))
			defer cancel()
			err := migrateWith(short, &s.cfg, s.cfg.Program[0], s.servers.url(s.servers.current(), owner))
			if done = err == nil; short.Err() != nil {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := s.recover(ctx); err != nil {
			return err
		}
		if done {
			s.rows = s.rows[:len(s.rows)-1] // it was not killed
			break
		}
	}
	s.out.figure("kills of the migration", float64(len(s.rows)), "")
	return migrateWith(ctx, &s.cfg, s.cfg.Program[0], s.servers.url(s.servers.current(), owner))
}

// replace stops a program and starts the new version in its place.
func (s *scene) replace(ctx context.Context, p *program) error {
	p.command = s.cfg.Program
	return s.restart(ctx, p, p.role)
}

// migrateWith migrates a database to the newest version of a program. It kills
// the program with SIGKILL when ctx ends.
func migrateWith(ctx context.Context, cfg *Config, program, url string) error {
	cmd := exec.CommandContext(ctx, program, "migrate", "up")
	cmd.Env = append([]string{"DATABASE_URL=" + url}, cfg.Env...)
	stdin, err := cmd.StdinPipe() // the program ends with it
	if err != nil {
		return err
	}
	defer func() { _ = stdin.Close() }()
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate up: %w: %.1000s", err, text)
	}
	return nil
}
