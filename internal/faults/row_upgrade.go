//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// upgradeScenario is T16. Both programs are of an older version. The migrations
// of the newer one are killed under traffic until they have come through. Then
// the programs are replaced one after the other.
func upgradeScenario() Scenario {
	return Scenario{
		ID: "T16", Name: "old and new program side by side during a migration; SIGKILL of the migration",
		Size: "up to 50 kills of the migration, in 50 steps of the time that it takes, until it comes through; 2 min side by side",
		setup: setup{
			programs: 2, rate: 40,
			prepare: func(_ context.Context, cfg *Config, o Options) (func(), error) {
				if o.Before == nil {
					return nil, errors.New("the program of an older version is missing")
				}
				cfg.commands = [][]string{o.Before, o.Before}
				cfg.migrate = func(ctx context.Context, databaseURL string) error {
					return migrateWith(ctx, cfg, o.Before[0], databaseURL)
				}
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
			s.out.figure("attempts answered 503 or not", float64(t.failed()), "")
			s.out.figure("p99 of deliveries from the first migration on", milliseconds(t.p99), "ms")
			return nil
		},
	}
}

// rehearsal is a database that is migrated without kills.
const rehearsal = "rehearsal"

// urlOf is the URL of another database of a server.
func urlOf(databaseURL, name string) (string, error) {
	address, err := url.Parse(databaseURL)
	if err != nil {
		return "", err
	}
	address.Path = "/" + name
	return address.String(), nil
}

// rehearse migrates another database. It returns how long that takes, and how
// long the program takes to start.
func (s *scene) rehearse(ctx context.Context) (takes, start time.Duration, err error) {
	if err := s.servers.exec(ctx, "CREATE DATABASE "+rehearsal+" OWNER "+owner); err != nil {
		return 0, 0, err
	}
	address, err := urlOf(s.servers.url(s.servers.current(), owner), rehearsal)
	if err != nil {
		return 0, 0, err
	}
	if err := migrateWith(ctx, &s.cfg, s.options.Before[0], address); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := runCommand(ctx, &s.cfg, s.cfg.Program[0], "", "version"); err != nil {
		return 0, 0, err
	}
	start = time.Since(begin)
	begin = time.Now()
	err = migrateWith(ctx, &s.cfg, s.cfg.Program[0], address)
	return time.Since(begin), start, err
}

// killMigrations runs the migrations and kills them, a little later each time,
// until they come through or were killed often enough. A killed run may have
// completed some migrations, so the last ones take less time than the rehearsal.
func (s *scene) killMigrations(ctx context.Context) error {
	takes, start, err := s.rehearse(ctx)
	if err != nil {
		return err
	}
	s.out.figure("the migrations without kills, with the start of the program", seconds(takes), "s")
	s.out.figure("of this, the start of the program", seconds(start), "s")
	kills := s.count(50, 5)
	step := max(takes-start, time.Second/10) / time.Duration(kills)
	for n := range kills {
		done := false
		err := s.hit(ctx, "kill the migration", func(ctx context.Context) error {
			short, cancel := context.WithTimeout(ctx, start+time.Duration(n)*step+time.Duration(s.rng.Int64N(int64(step))))
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
	s.atLeast("kills of the migration", float64(len(s.rows)), 1)
	if err := migrateWith(ctx, &s.cfg, s.cfg.Program[0], s.servers.url(s.servers.current(), owner)); err != nil {
		return err
	}
	return s.compareSchemas(ctx)
}

// objectsSQL lists the objects of the schema with their definitions and rights.
const objectsSQL = `
SELECT array_agg(o.line ORDER BY o.line) FROM (
    SELECT 'function ' || pg_get_functiondef(oid) || coalesce(proacl::text, '') FROM pg_proc
    WHERE pronamespace = 'lumin'::regnamespace AND prokind = 'f'
    UNION ALL
    SELECT 'relation ' || relname || ' ' || coalesce(pg_get_viewdef(CASE relkind WHEN 'v' THEN oid END), '') || coalesce(relacl::text, '')
    FROM pg_class WHERE relnamespace = 'lumin'::regnamespace AND relkind IN ('r', 'v', 'S')
    UNION ALL
    SELECT 'column ' || c.relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || coalesce(attacl::text, '')
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE c.relnamespace = 'lumin'::regnamespace AND c.relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
    WHERE c.relnamespace = 'lumin'::regnamespace AND NOT tgisinternal
    UNION ALL
    SELECT 'index ' || pg_get_indexdef(indexrelid) || ' ' || indisvalid FROM pg_index JOIN pg_class c ON c.oid = indrelid
    WHERE c.relnamespace = 'lumin'::regnamespace
) o (line)`

// compareSchemas checks that the kills have left the schema of a migration
// without kills.
func (s *scene) compareSchemas(ctx context.Context) error {
	read := func(name string) (lines []string, err error) {
		conn, err := pgx.Connect(ctx, s.servers.current().DatabaseURL(name))
		if err != nil {
			return nil, err
		}
		defer conn.Close(ctx)
		return lines, conn.QueryRow(ctx, objectsSQL).Scan(&lines)
	}
	got, err := read(database)
	if err != nil {
		return err
	}
	want, err := read(rehearsal)
	if err != nil {
		return err
	}
	for _, line := range missing(want, got) {
		s.problem("after the kills the schema lacks: %.300s", line)
	}
	for _, line := range missing(got, want) {
		s.problem("after the kills the schema also has: %.300s", line)
	}
	s.out.figure("objects of the schema that were compared with a migration without kills", float64(len(want)), "")
	return nil
}

// missing returns the lines that are not among others.
func missing(lines, others []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return slices.Contains(others, line) })
}

// replace stops a program and starts the new version in its place.
func (s *scene) replace(ctx context.Context, p *program) error {
	p.command = s.cfg.Program
	return s.restart(ctx, p, p.role)
}

// migrateWith migrates a database to the newest version of a program. It kills
// the program with SIGKILL when ctx ends.
func migrateWith(ctx context.Context, cfg *Config, program, databaseURL string) error {
	return runCommand(ctx, cfg, program, databaseURL, "migrate", "up")
}

// runCommand runs a command of a program.
func runCommand(ctx context.Context, cfg *Config, program, databaseURL string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"DATABASE_URL=" + databaseURL}, cfg.Env...)
	stdin, err := cmd.StdinPipe() // the program ends with it
	if err != nil {
		return err
	}
	defer func() { _ = stdin.Close() }()
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.1000s", strings.Join(args, " "), err, text)
	}
	return nil
}
