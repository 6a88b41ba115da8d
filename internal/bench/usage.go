package main

import (
	"context"
	"time"

	"lumin-ingest/internal/bench/report"
)

// usage is the state of the counters at one moment.
type usage struct {
	at      time.Time
	program time.Duration // CPU time
	server  time.Duration // CPU time of all processes of PostgreSQL
	wal     int64         // position in the write-ahead log, in bytes
	trips   int64         // round trips through the proxy
}

func (s *stage) usage(ctx context.Context, p *process) (u usage, err error) {
	if u, err = s.serverUsage(ctx); err != nil {
		return u, err
	}
	u.program, err = processTime(p.pid(), false)
	return u, err
}

// serverUsage is the usage without a program.
func (s *stage) serverUsage(ctx context.Context) (u usage, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint`).Scan(&u.wal); err != nil {
		return u, err
	}
	if s.proxy != nil {
		u.trips = s.proxy.RoundTrips()
	}
	u.server, err = processTime(s.server.PID(), true)
	u.at = time.Now()
	return u, err
}

// addUsage adds what was used between two moments, per event.
func (s *stage) addUsage(from, to usage, events int) {
	if events == 0 {
		return
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(events) }
	program, server := to.program-from.program, to.server-from.server
	s.add(report.MetricCPU, "µs", per(program+server))
	s.add(report.MetricProgram, "µs", per(program))
	s.add(report.MetricServer, "µs", per(server))
	s.add(report.MetricWAL, "bytes", float64(to.wal-from.wal)/float64(events))
	if s.proxy != nil {
		s.add(report.MetricTrips, "per event", float64(to.trips-from.trips)/float64(events))
	}
}
