//go:build unix

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// othersScenario is T20. Each part is one fault. Deliveries that it does not
// concern must be answered 200, and soon.
func othersScenario() Scenario {
	return Scenario{
		ID: "T20", Name: "others in the same database: row locks, all free connections, odd timeouts of the role, DDL, a second River and version table",
		Size: "30 s of each, 3 times; unrelated deliveries are answered 200, p99 < 1 s; those of locked events once the locks end",
		setup: setup{
			programs: 2, rate: 40, env: []string{SteadyVariable + "=1"},
			settings: map[string]string{"max_connections": "100", "superuser_reserved_connections": "10"},
		},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			if err := s.admitIntruder(ctx); err != nil {
				return err
			}
			if err := s.acknowledged(ctx, 200); err != nil {
				return err
			}
			length := s.span(30*time.Second, 8*time.Second)
			for range s.count(3, 1) {
				for _, part := range []struct {
					name string
					do   func(context.Context, time.Duration) error
				}{
					{"row locks", s.lockRows},
					{"all free connections", func(ctx context.Context, length time.Duration) error { return s.crowd(ctx, length, false) }},
					{"odd timeouts", s.oddTimeouts},
					{"DDL", s.changeTables},
					{"second River", s.secondRiver},
				} {
					s.locked, s.from, s.to = nil, time.Now(), time.Time{}
					err := s.hit(ctx, part.name, func(ctx context.Context) error { return part.do(ctx, length) })
					if err != nil {
						return err
					}
					if s.to.IsZero() {
						s.to = s.rows[len(s.rows)-1].ended
					}
					if err := s.recover(ctx); err != nil {
						return err
					}
					if s.locked != nil {
						s.judgeLocked(part.name)
					}
					t := s.ledger.traffic(s.from, s.to, func(d identity) bool { return s.locked[d] })
					s.atMost(part.name+": unrelated attempts not answered 200", float64(t.failed()), 0, "")
					s.enough(part.name+": unrelated attempts answered 200", t.answered, s.to.Sub(s.from))
					s.atMost(part.name+": p99 of unrelated deliveries", milliseconds(t.p99), 1000, "ms")
					s.out.figure(part.name+": slowest answer to an unrelated delivery", milliseconds(t.worst), "ms")
				}
			}
			return s.untouched(ctx)
		},
	}
}

// lockedMost is how many events are locked. Their deliveries are repeated meanwhile.
const lockedMost = 20

// lockRows locks the latest events, their runs and the counts of their
// redeliveries, as an operator might in psql. The clients send these events again
// all the time. Recording waits for the locks of the counts only.
func (s *scene) lockRows(ctx context.Context, length time.Duration) error {
	conn, err := pgx.Connect(ctx, s.servers.current().DatabaseURL(database))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	ids, deliveries, err := s.latest(ctx, conn)
	if err != nil {
		return err
	}
	s.repeat(ctx, insistBound, deliveries) // a redelivery makes the row that counts them
	s.repeats.Wait()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	locked := 0
	if err := tx.QueryRow(ctx, lockRowsSQL, ids).Scan(&locked); err != nil {
		return err
	}
	s.atLeast("row locks: events whose redeliveries cannot be counted", float64(locked), float64(len(ids)))
	s.locked, s.from = map[identity]bool{}, time.Now()
	for _, d := range deliveries {
		s.locked[identity{d.Key, d.Source}] = true
	}
	s.repeat(ctx, length+giveUp, deliveries)
	pause(ctx, length)
	s.to = time.Now()
	return tx.Rollback(ctx)
}

const lockRowsSQL = `
WITH events AS MATERIALIZED (SELECT id, event_key FROM lumin.events WHERE id = ANY ($1) FOR UPDATE),
runs AS MATERIALIZED (SELECT FROM lumin.runs WHERE event_key IN (SELECT event_key FROM events) FOR UPDATE),
counts AS MATERIALIZED (SELECT event_id FROM lumin.redeliveries WHERE event_id IN (SELECT id FROM events) FOR UPDATE)
SELECT count(DISTINCT event_id) FROM counts WHERE (SELECT count(*) FROM runs) > 0`

// latest returns the latest events and what the clients sent of them.
func (s *scene) latest(ctx context.Context, conn *pgx.Conn) (ids []int64, deliveries []*Delivery, err error) {
	rows, err := conn.Query(ctx, `SELECT id, event_key, source FROM lumin.events ORDER BY id DESC LIMIT $1`, lockedMost)
	if err != nil {
		return nil, nil, err
	}
	var (
		id  int64
		one identity
	)
	_, err = pgx.ForEachRow(rows, []any{&id, (*[16]byte)(&one.key), &one.source}, func() error {
		ids, deliveries = append(ids, id), append(deliveries, s.ledger.sent(one))
		return nil
	})
	return ids, deliveries, err
}

// repeat sends deliveries again until each is answered 200 or the time is over, and
// returns at once.
func (s *scene) repeat(ctx context.Context, within time.Duration, deliveries []*Delivery) {
	s.repeated.Store(0)
	for _, d := range deliveries {
		rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
		s.repeats.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			if s.clients.deliver(ctx, rng, d) {
				s.repeated.Add(1)
			}
		})
	}
}

// judgeLocked checks that the locks were in the way of the deliveries that they
// concern, and only until their end.
func (s *scene) judgeLocked(part string) {
	s.repeats.Wait()
	within := s.ledger.answeredWithin(s.from, s.to, func(d identity) bool { return s.locked[d] })
	s.atMost(part+": attempts at locked events answered 200 meanwhile", float64(within[http.StatusOK]), 0, "")
	s.atLeast(part+": attempts at locked events answered 503", float64(within[http.StatusServiceUnavailable]), float64(len(s.locked)))
	s.atLeast(part+": locked events answered 200 afterwards", float64(s.repeated.Load()), float64(len(s.locked)))
}

// oddTimeouts gives the role of the programs settings that would break them,
// and makes them connect anew.
func (s *scene) oddTimeouts(ctx context.Context, length time.Duration) error {
	reset := []string{"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + login + "'"}
	set := []string{}
	for name, value := range map[string]string{
		"statement_timeout": "'5ms'", "lock_timeout": "'1ms'", "idle_in_transaction_session_timeout": "'1ms'",
		"default_transaction_isolation": "'serializable'", "search_path": "'nowhere'", "synchronous_commit": "'off'",
	} {
		set = append(set, "ALTER ROLE "+login+" SET "+name+" = "+value)
		reset = append([]string{"ALTER ROLE " + login + " RESET " + name}, reset...)
	}
	set = append(set, reset[len(reset)-1])
	if err := s.servers.exec(ctx, set...); err != nil {
		return err
	}
	s.from = time.Now().Add(3 * time.Second) // until the programs have connected anew
	pause(ctx, length)
	// Ending the sessions refuses the deliveries that are being recorded.
	s.to = time.Now()
	pause(ctx, time.Second)
	return s.servers.exec(context.WithoutCancel(ctx), reset...)
}

// changeTables changes tables of the database as careful operators do: with a
// short lock_timeout, repeated if it did not pass.
func (s *scene) changeTables(ctx context.Context, length time.Duration) error {
	statements := []string{
		"CREATE INDEX CONCURRENTLY chaos_events ON lumin.events (received_at, source)", "DROP INDEX CONCURRENTLY lumin.chaos_events",
		"REINDEX INDEX CONCURRENTLY lumin.runs_pkey", "ANALYZE lumin.events", "VACUUM lumin.runs", "VACUUM lumin.river_job",
		"CREATE TABLE IF NOT EXISTS public.orders (id bigint PRIMARY KEY, note text)", "ALTER TABLE public.orders ADD COLUMN IF NOT EXISTS more text",
		"ALTER TABLE lumin.events SET (autovacuum_vacuum_cost_delay = 1)", "ALTER TABLE lumin.runs SET (autovacuum_vacuum_cost_delay = 1)",
		"ALTER TABLE lumin.river_job SET (autovacuum_vacuum_cost_delay = 1)", "ALTER TABLE public.orders DROP COLUMN more",
	}
	passed, repeated := 0, 0
	for start := time.Now(); time.Since(start) < length && ctx.Err() == nil; {
		for _, sql := range statements {
			err := s.servers.queryWithin(ctx, time.Minute, func(ctx context.Context, conn *pgx.Conn) error {
				if _, err := conn.Exec(ctx, "SET lock_timeout = '200ms'"); err != nil {
					return err
				}
				_, err := conn.Exec(ctx, sql)
				return err
			})
			if err != nil {
				repeated++
				s.note("%s: %v", sql, err)
			} else {
				passed++
			}
		}
	}
	s.out.figure("DDL: statements that passed", float64(passed), "")
	s.out.figure("DDL: statements that waited too long for a lock", float64(repeated), "")
	return ctx.Err()
}

// secondRiver makes the tables of another application: a River with a job of our
// kind, and a version table that would stop a migration. Then it restarts a
// program, which must find its own.
func (s *scene) secondRiver(ctx context.Context, length time.Duration) error {
	err := s.servers.exec(ctx,
		`CREATE TABLE IF NOT EXISTS public.schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)`,
		`INSERT INTO public.schema_migrations VALUES (999, true) ON CONFLICT DO NOTHING`,
		`CREATE TABLE IF NOT EXISTS public.river_job (LIKE lumin.river_job INCLUDING ALL)`,
		`CREATE TABLE IF NOT EXISTS public.river_leader (LIKE lumin.river_leader INCLUDING ALL)`,
		fmt.Sprintf(`INSERT INTO public.river_job (id, args, kind, max_attempts, state)
			VALUES (1, '{"event_key":"00000000-0000-0000-0000-000000000000","replay_id":0}', '%s', 5, 'available') ON CONFLICT DO NOTHING`, EffectKind),
		`GRANT ALL ON ALL TABLES IN SCHEMA public TO `+login)
	if err != nil {
		return err
	}
	p := s.programs[1]
	if err := s.restart(ctx, p, p.role); err != nil {
		return err
	}
	if err := s.await(ctx, "the restarted program is ready", startBound, func() bool { return p.ready(ctx) == nil }); err != nil {
		return err
	}
	s.from = time.Now()
	pause(ctx, length)
	return nil
}

// untouched checks that the job of the other River was left alone.
func (s *scene) untouched(ctx context.Context) error {
	var available int
	err := s.servers.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT count(*) FROM public.river_job WHERE state = 'available' AND attempt = 0`).Scan(&available)
	})
	s.atLeast("second River: jobs left alone", float64(available), 1)
	return err
}
