package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"lumin-ingest/internal/bench/report"
)

// fillSQL creates ten events per minute, of five types, each with a failed run.
// The keys begin with the time, like real ones.
const fillSQL = `
WITH e AS (
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
    SELECT (lpad(to_hex(1500000000000 + n * 6000::bigint), 12, '0') || substr(md5(n::text), 13))::uuid, CASE n % 100 WHEN 0 THEN 'app:crm' ELSE 'account' END, md5((n / 5)::text),
           (ARRAY['signature_request_created', 'signature_request_viewed', 'signature_request_signed', 'signature_request_approved', 'signature_request_downloadable'])[1 + n % 5],
           to_timestamp(1.5e9 + n * 6), convert_to('{"n":' || n || ',"x":"' || repeat(md5(n::text), 14) || '"}', 'UTF8'), sha256(n::text::bytea), sha256(n::text::bytea), '0011223344556677',
           to_timestamp(1.5e9 + n * 6 + 1)
    FROM generate_series($1::bigint, $2::bigint) n RETURNING id, event_key, received_at
)
INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, attempts, error, finished_at)
SELECT event_key, 'book', id, -id, 'failed', 10, 'invoice ' || id || ' is gone', received_at FROM e`

// fillStart is the time of the first event of fillSQL, and fillStep the time
// between two. Ten million events end in 2019.
const (
	fillStart = 1_500_000_000
	fillStep  = 6
)

// fill stores n past events.
func (s *stage) fill(ctx context.Context, n int) error {
	const step = 50_000
	s.logf("filling a database with %d events", n)
	for from := 1; from <= n; from += step {
		if _, err := s.pool.Exec(ctx, fillSQL, from, min(from+step-1, n)); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	if _, err := s.pool.Exec(ctx, `VACUUM ANALYZE`); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return s.checkpoint(ctx)
}

// exported is the number of events of the export in P10.
const exported = 1_000_000

// exportMemory measures the memory of a command that lists all events as JSON.
func (b *bench) exportMemory(ctx context.Context, s *report.Scenario) (err error) {
	server, err := newServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	c := b.plain()
	if err := b.prepare(ctx, server, c); err != nil {
		return err
	}
	st, err := b.openStage(ctx, server, s, c, c.schema)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	st.label = exportRow
	n := min(b.events, exported)
	if err := st.fill(ctx, n); err != nil {
		return err
	}
	for range b.rounds {
		if err := st.export(ctx, n); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

// export runs the command and samples its memory until it ends.
func (s *stage) export(ctx context.Context, n int) error {
	cmd := exec.CommandContext(ctx, s.program, "events", "list", "--output", "json")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + s.url}
	start := time.Now()
	p, err := s.spawn(launch{cmd: cmd})
	if err != nil {
		return err
	}
	highest := int64(0)
	for running := true; running; {
		select {
		case <-p.ended:
			running = false
		case <-time.After(often):
			if _, h, err := memory(p.pid()); err == nil {
				highest = max(highest, h)
			}
		}
	}
	if p.err != nil {
		return fmt.Errorf("%w: %s", p.err, p.tail())
	}
	took := time.Since(start)
	lines, err := countLines(p.output)
	if err != nil {
		return err
	}
	if lines != n {
		return fmt.Errorf("%d lines for %d events", lines, n)
	}
	s.add(report.MetricMemory, "MiB", float64(highest)/mebibyte)
	s.add(report.MetricRate, "events/s", float64(n)/took.Seconds())
	return os.Remove(p.output)
}
