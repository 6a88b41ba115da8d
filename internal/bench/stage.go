package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
	"lumin-ingest/internal/bench/wire"
	"lumin-ingest/internal/pgdev"
)

// patience limits every wait for a contestant, besides the time of its load.
const patience = 10 * time.Minute

// stage is one turn: a contestant with a database of its own.
type stage struct {
	*bench
	contestant *contestant
	server     *pgdev.Server
	scenario   *report.Scenario
	label      string // the row of the results
	counting   bool   // only round trips are of interest
	database   string
	drop       bool   // drop the database at the end
	url        string // for the contestant, maybe through the proxy
	proxy      *wire.Proxy
	pool       *pgxpool.Pool // for the benchmark's own statements
	programs   []*process
	answered   int // different events that were answered 200
}

// execer executes statements on a connection or in a pool.
type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// onDatabase calls do with a connection.
func onDatabase(ctx context.Context, databaseURL string, do func(execer) error) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

// execute executes one statement, even when the benchmark is being stopped.
func execute(databaseURL, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return onDatabase(ctx, databaseURL, func(do execer) error {
		_, err := do.Exec(ctx, sql)
		return err
	})
}

// newStage copies the contestant's template into a new database.
func (b *bench) newStage(ctx context.Context, server *pgdev.Server, s *report.Scenario, c *contestant, counting bool) (*stage, error) {
	const name = "turn"
	if err := execute(server.URL(), `CREATE DATABASE `+name+` TEMPLATE `+c.schema); err != nil {
		return nil, fmt.Errorf("copy the template: %w", err)
	}
	st, err := b.openStage(ctx, server, s, c, name)
	if err != nil {
		return nil, errors.Join(err, execute(server.URL(), `DROP DATABASE `+name+` WITH (FORCE)`))
	}
	st.drop, st.counting = true, counting
	if counting {
		if err := st.route(0); err != nil {
			return nil, errors.Join(err, st.close())
		}
	}
	return st, nil
}

// openStage uses an existing database.
func (b *bench) openStage(ctx context.Context, server *pgdev.Server, s *report.Scenario, c *contestant, database string) (*stage, error) {
	st := &stage{bench: b, contestant: c, server: server, scenario: s, label: c.name, database: database, url: server.DatabaseURL(database)}
	config, err := pgxpool.ParseConfig(st.url)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 2
	if st.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := st.checkpoint(ctx); err != nil {
		st.pool.Close()
		return nil, err
	}
	return st, nil
}

// route leads the contestant to PostgreSQL through a proxy that counts round
// trips and delays each of them.
func (s *stage) route(delay time.Duration) (err error) {
	if s.proxy != nil {
		s.proxy.Close()
	}
	s.proxy, err = wire.Start(s.server.DatabaseURL(s.database), delay)
	if err == nil {
		s.url = s.proxy.URL()
	}
	return err
}

func (s *stage) checkpoint(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `CHECKPOINT`)
	return err
}

// close stops what the turn has started and drops its database.
func (s *stage) close() error {
	var errs []error
	for _, p := range s.programs {
		errs = append(errs, p.stop())
	}
	if s.proxy != nil {
		s.proxy.Close()
	}
	s.pool.Close()
	if s.drop {
		errs = append(errs, execute(s.server.URL(), `DROP DATABASE `+s.database+` WITH (FORCE)`))
	}
	return errors.Join(errs...)
}

// add adds a figure to the results.
func (s *stage) add(metric, unit string, value float64) {
	if s.counting == (metric == report.MetricTrips) {
		s.scenario.Add(s.label, metric, unit, value)
	}
}

// start starts the contestant's program and waits until it is ready.
func (s *stage) start(ctx context.Context, role string) (*process, error) {
	l, err := s.contestant.launch(role, s.url)
	if err != nil {
		return nil, err
	}
	p, err := s.spawn(l)
	if err != nil {
		return nil, err
	}
	s.programs = append(s.programs, p)
	return p, p.waitReady(ctx)
}

// load sends deliveries to a program. Its events differ from those of all other
// loads, unless a series is given.
func (s *stage) load(ctx context.Context, p *process, cfg load.Config) (load.Report, error) {
	r, err := s.beginLoad(ctx, p, cfg)
	if err != nil {
		return load.Report{}, err
	}
	return r.wait()
}

// closedLoop sends as many deliveries as the connections can, for some seconds.
func (s *stage) closedLoop(ctx context.Context, p *process, conns int, seconds float64) (load.Report, error) {
	return s.load(ctx, p, load.Config{Connections: conns, Seconds: seconds})
}

// wait polls until the statement returns false.
func (s *stage) wait(ctx context.Context, every time.Duration, sql string, args ...any) error {
	deadline := time.Now().Add(patience)
	for {
		var more bool
		if err := s.pool.QueryRow(ctx, sql, args...).Scan(&more); err != nil {
			return err
		}
		if !more {
			return nil
		}
		for _, p := range s.programs {
			if err := p.alive(); err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still has work after %s", s.contestant.name, patience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(every):
		}
	}
}

// count returns a number from the database.
func (s *stage) count(ctx context.Context, sql string) (n int, err error) {
	err = s.pool.QueryRow(ctx, sql).Scan(&n)
	return n, err
}
