package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"lumin-ingest/internal/bench/report"
	"lumin-ingest/internal/bench/textbook"
)

// pgbenchScript inserts the rows of one event and of its job, like the textbook
// program, in one transaction.
const pgbenchScript = `\set a random(0, 9007199254740991)
\set b random(0, 9007199254740991)
BEGIN;
INSERT INTO public.events (event_key, source, signature_request_id, event_type, event_time, payload, signature)
VALUES (md5(:a::text || ' ' || :b::text)::uuid, 'account', md5(:b::text || ' ' || :a::text), 'signature_request_signed', now(), convert_to(repeat('0123456789abcdef', 43), 'UTF8'), decode(repeat('00', 32), 'hex'))
ON CONFLICT (event_key, source) DO NOTHING;
INSERT INTO public.river_job (args, kind, max_attempts, priority, queue, state)
VALUES (jsonb_build_object('id', :a::bigint), 'event', 25, 1, 'default', 'available');
COMMIT;
`

// pgbench is PostgreSQL's own benchmark: the rate at which this server takes
// transactions with the same two rows, without a web server.
func (b *bench) pgbench() *contestant {
	return &contestant{
		name: "pgbench", schema: "pgbench", uncounted: true, turn: runPgbench,
		migrate: func(ctx context.Context, databaseURL string) error {
			if _, err := findPgbench(); err != nil {
				return err
			}
			return textbook.Migrate(ctx, databaseURL)
		},
	}
}

// pgbenchSeconds is its shortest time. It makes its 64 connections within that
// time: on a busy machine, one second ended before the first transaction.
const pgbenchSeconds = 5

// findPgbench returns the path of the program, which some distributions keep
// with the server's programs.
func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench") // the pattern is valid
	if len(found) == 0 {
		return "", &missingError{"there is no program pgbench; install PostgreSQL's contrib or client programs"}
	}
	return found[len(found)-1], nil
}

func runPgbench(ctx context.Context, s *stage) error {
	path, err := findPgbench()
	if err != nil {
		return err
	}
	script := filepath.Join(s.folder, "pgbench.sql")
	if err := os.WriteFile(script, []byte(pgbenchScript), 0o600); err != nil {
		return err
	}
	run := func(seconds float64) (string, *os.ProcessState, error) {
		cmd := exec.CommandContext(ctx, path, "--no-vacuum", "--client="+strconv.Itoa(connections), "--jobs=2", "--protocol=prepared",
			"--time="+strconv.Itoa(max(pgbenchSeconds, int(seconds))), "--file="+script)
		var err error
		if cmd.Env, err = environmentOf(s.url); err != nil {
			return "", nil, err
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", nil, fmt.Errorf("pgbench: %w: %s", err, out)
		}
		return string(out), cmd.ProcessState, nil
	}
	from, err := s.serverUsage(ctx)
	if err != nil {
		return err
	}
	out, state, err := run(s.seconds)
	if err != nil {
		return err
	}
	to, err := s.serverUsage(ctx)
	if err != nil {
		return err
	}
	to.program = from.program + state.UserTime() + state.SystemTime()
	transactions, err := pgbenchFigure(out, `transactions actually processed: (\d+)`)
	if err != nil {
		return err
	}
	rate, err := pgbenchFigure(out, `tps = ([\d.]+)`)
	if err != nil {
		return err
	}
	latency, err := pgbenchFigure(out, `latency average = ([\d.]+) ms`)
	if err != nil {
		return err
	}
	s.add(report.MetricRate, "deliveries/s", rate)
	s.add("mean latency", "ms", latency)
	s.addUsage(from, to, int(transactions))
	return nil
}

func pgbenchFigure(out, pattern string) (float64, error) {
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		return 0, errors.New("pgbench printed no " + pattern + ": " + out)
	}
	return strconv.ParseFloat(found[1], 64)
}
