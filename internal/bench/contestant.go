package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/textbook"
	"lumin-ingest/internal/pgdev"
)

// secret signs all deliveries. It is the example in Lumin's documentation.
const secret = "my_primary_api_key"

// connections is the number of connections of a load that is not one caller.
const connections = 64

// Roles of a program.
const (
	roleIngest = "ingest"
	roleWorker = "worker"
	roleAll    = "all"
)

// contestant is a program that can take a turn.
type contestant struct {
	name      string
	schema    string // contestants with the same schema share a template
	migrate   func(ctx context.Context, databaseURL string) error
	launch    launcher
	counted   counts
	uncounted bool                                      // leave it out of the round that counts round trips
	turn      func(ctx context.Context, s *stage) error // instead of the scenario's; nil: the scenario's
}

// launcher makes the command of a program, which is not started yet.
type launcher func(role, databaseURL string) (launch, error)

// launch is a command and the addresses at which it will listen.
type launch struct {
	cmd     *exec.Cmd
	webhook string
	callers string // takes loads of callers in the process; see load.Callers
	ready   string // answers 200 when the program is ready
}

// counts are the statements that read what a contestant has done.
type counts struct {
	events, runs, effects string // numbers
	unsettled             string // whether effects are still to come
	unsettledUntil        string // the same, for the events up to $1
	last                  string // the last event
	unfinished            string // whether jobs are still to be completed
	times                 string // per effect: signature request and time of commit
}

// missingError says what a contestant needs and this machine lacks.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

// prepare makes the template database of a contestant.
func (b *bench) prepare(ctx context.Context, server *pgdev.Server, c *contestant) error {
	return onDatabase(ctx, server.URL(), func(do execer) error {
		var exists bool
		if err := do.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, c.schema).Scan(&exists); err != nil || exists {
			return err
		}
		if _, err := do.Exec(ctx, `CREATE DATABASE `+c.schema); err != nil {
			return err
		}
		if err := c.migrate(ctx, server.DatabaseURL(c.schema)); err != nil {
			_, dropErr := do.Exec(ctx, `DROP DATABASE `+c.schema+` WITH (FORCE)`)
			if dropErr != nil {
				return dropErr
			}
			return err
		}
		return nil
	})
}

// ours is the program of this checkout.
func (b *bench) ours(v variant) *contestant {
	return ingester(v.name, "ours", []string{b.current.program}, v.env)
}

// plain is the program of this checkout with its default settings.
func (b *bench) plain() *contestant { return b.ours(variant{name: "ours"}) }

// old returns the program of an older commit, if there is one.
func (b *bench) old() []*contestant {
	if b.before == "" {
		return nil
	}
	return []*contestant{ingester("before", "before", []string{b.older.program}, nil)}
}

// recorders are ours, the older program if there is one, and the textbook,
// without HTTP.
func (b *bench) recorders() (all []*contestant) {
	for _, v := range append([]variant{{name: "ours"}}, b.variants...) {
		all = append(all, recorderOf(b.ours(v), b.current.recorder, v.env))
	}
	for _, c := range b.old() {
		all = append(all, recorderOf(c, b.older.recorder, nil))
	}
	return append(all, b.textbook(effectState))
}

// recorderOf is the Recorder of an ingester alone.
func recorderOf(c *contestant, program string, env []string) *contestant {
	c.launch = func(_, databaseURL string) (launch, error) {
		address, _, err := freePorts()
		if err != nil {
			return launch{}, err
		}
		cmd := exec.Command(program)
		cmd.Env = slices.Concat([]string{"DATABASE_URL=" + databaseURL, "LISTEN_ADDR=" + address}, env)
		return launch{cmd: cmd, callers: "http://" + address + load.CallersPath, ready: "http://" + address + "/readyz"}, nil
	}
	return c
}

// ingester is a program with the command line of lumin-ingest.
func ingester(name, schema string, program, env []string) *contestant {
	environment := func(databaseURL string) []string {
		return slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + databaseURL, "LUMIN_ACCOUNT_API_KEYS=" + secret}, env)
	}
	command := func(databaseURL string, args ...string) *exec.Cmd {
		cmd := exec.Command(program[0], slices.Concat(program[1:], args)...)
		cmd.Env = environment(databaseURL)
		return cmd
	}
	return &contestant{
		name: name, schema: schema, counted: ingesterCounts("lumin.signature_requests"),
		migrate: func(_ context.Context, databaseURL string) error {
			if out, err := command(databaseURL, "migrate", "up").CombinedOutput(); err != nil {
				return fmt.Errorf("migrate: %w: %s", err, out)
			}
			return execute(databaseURL, `CREATE TABLE public.effects (event_key uuid NOT NULL)`)
		},
		launch: func(role, databaseURL string) (launch, error) {
			public, private, err := freePorts()
			if err != nil {
				return launch{}, err
			}
			cmd := command(databaseURL, "serve")
			cmd.Env = append(cmd.Env, "LUMIN_ROLE="+role, "DRAIN_DELAY=0s", "LISTEN_ADDR="+public, "ADMIN_LISTEN_ADDR="+private)
			return launch{cmd: cmd, webhook: "http://" + public + "/webhooks/account", ready: "http://" + private + "/readyz"}, nil
		},
	}
}

func ingesterCounts(effects string) counts {
	return counts{
		events: `SELECT count(*) FROM lumin.events`, runs: `SELECT count(*) FROM lumin.runs`,
		effects:        `SELECT count(*) FROM ` + effects,
		unsettled:      `SELECT EXISTS (SELECT FROM lumin.runs WHERE state = 'pending')`,
		unsettledUntil: `SELECT EXISTS (SELECT FROM lumin.runs WHERE state = 'pending' AND event_id <= $1)`,
		last:           `SELECT coalesce(max(id), 0) FROM lumin.events`,
		unfinished:     `SELECT EXISTS (SELECT FROM lumin.river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled') AND queue NOT IN ('lumin', 'lumin_periodic'))`,
		times:          `SELECT signature_request_id, pg_xact_commit_timestamp(xmin) FROM lumin.signature_requests`,
	}
}

// textbook is the built-in reference. Its effect is either the state of the
// signature request, or a row in the table effects.
func (b *bench) textbook(effect string) *contestant { return b.textbookOf(effect, b.pool) }

// textbookOf is textbook with another number of connections to PostgreSQL.
func (b *bench) textbookOf(effect string, pool int) *contestant {
	table := "public.signature_requests"
	if effect == effectRow {
		table = "public.effects"
	}
	const unfinished = `SELECT EXISTS (SELECT FROM public.river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled'))`
	return &contestant{
		name: "textbook", schema: "textbook", migrate: textbook.Migrate,
		counted: counts{
			events: `SELECT count(*) FROM public.events`, runs: `SELECT count(*) FROM public.river_job`,
			effects:   `SELECT count(*) FROM ` + table,
			unsettled: unfinished, unfinished: unfinished,
			unsettledUntil: `SELECT EXISTS (SELECT FROM public.river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled') AND id <= $1)`,
			last:           `SELECT coalesce(max(id), 0) FROM public.river_job`,
			times:          `SELECT signature_request_id, pg_xact_commit_timestamp(xmin) FROM public.signature_requests`,
		},
		launch: func(role, databaseURL string) (launch, error) {
			address, _, err := freePorts()
			if err != nil {
				return launch{}, err
			}
			cmd := exec.Command(b.self, "textbook")
			cmd.Env = []string{"DATABASE_URL=" + databaseURL, "LISTEN_ADDR=" + address, "SECRET=" + secret, "ROLE=" + role, "EFFECT=" + effect, "CONNECTIONS=" + strconv.Itoa(pool)}
			base := "http://" + address
			return launch{cmd: cmd, webhook: base + "/webhooks/account", callers: base + load.CallersPath, ready: base + "/readyz"}, nil
		},
	}
}

// Effects of the textbook program.
const (
	effectState = "state"
	effectRow   = "row"
)

// freePorts returns two addresses that no one listens on.
func freePorts() (a, b string, err error) {
	first, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	second, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", "", errors.Join(err, first.Close())
	}
	return first.Addr().String(), second.Addr().String(), errors.Join(first.Close(), second.Close())
}

// environmentOf returns a database URL as the variables of libpq.
func environmentOf(databaseURL string) ([]string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, err
	}
	password, _ := u.User.Password()
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return nil, err
	}
	return []string{
		"PATH=" + os.Getenv("PATH"), "PGHOST=" + u.Hostname(), "PGPORT=" + strconv.Itoa(port), "PGUSER=" + u.User.Username(),
		"PGPASSWORD=" + password, "PGDATABASE=" + u.Path[1:],
	}, nil
}
