package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// devCommand takes no DATABASE_URL: the address of a production database, set in
// somebody's shell, must never meet the published key that is accepted here.
type devCommand struct {
	listenSettings
	devBuiltIn
	DevDatabaseURL string `env:"DEV_DATABASE_URL" placeholder:"URL" help:"Use this server and database instead of a private one."`
	Demo           bool   `default:"true" negatable:"" help:"Run the demo before serving."`
}

// Run implements the command.
func (c *devCommand) Run(ctx context.Context, std streams, jobTypes JobTypes) error {
	url, closeServer, err := c.database(ctx, std)
	if err != nil {
		return err
	}
	defer closeServer()
	if err := migrations.Up(ctx, url); err != nil {
		if c.DevDatabaseURL != "" {
			return hint(err, "check DEV_DATABASE_URL and whether the server runs; unset, a private server is started")
		}
		return err
	}
	logger, closeLog := std.serviceLogger(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) })
	defer closeLog()
	log := demoLog{Handler: logger.Handler(), demonstrating: new(atomic.Bool)}
	log.demonstrating.Store(true)
	cfg := serviceConfig{
		logger: slog.New(log), log: std.log,
		databaseURL: url, publicAddr: c.publicAddr("127.0.0.1"), adminAddr: c.adminAddr(),
		ingest: true, work: true, maxWorkers: 8,
		maxEventAge: 0, // the documentation's example is from 2023
	}
	if c.ListenAddr == "" && c.Port == nil {
		cfg.publicMoves = maxMoves
	}
	if c.AdminListenAddr == "" {
		cfg.adminMoves = maxMoves
	}
	env, closeAPI, err := c.env(std)
	if err != nil {
		return err
	}
	defer closeAPI()
	if err = cfg.addJobTypes(ctx, jobTypes, env, c.builtInSettings); err != nil {
		return err
	}
	if cfg.sources, err = devSources(cfg.registry); err != nil {
		return err
	}
	demo := newDemo(std.out)
	if c.Demo {
		if err := prepareDemo(ctx, url); err != nil {
			return err
		}
		cfg.registry.AddTx(demo.invoice)
		if err := cfg.registry.Err(); err != nil {
			return err
		}
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	if cfg.publicMoves > 0 && s.public.addr() != cfg.publicAddr {
		fmt.Fprintf(std.out, "%s is in use: receiving deliveries on %s instead\n", cfg.publicAddr, s.public.addr())
	}
	if cfg.adminMoves > 0 && s.admin.addr() != cfg.adminAddr {
		fmt.Fprintf(std.out, "%s is in use: health and metrics are on %s instead\n", cfg.adminAddr, s.admin.addr())
	}
	go func() {
		if c.Demo {
			err := demo.run(ctx, s)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.failed <- fmt.Errorf("demo: %w", err)
				return
			}
		}
		log.demonstrating.Store(false)
		c.howToLook(std, s, url)
	}()
	return s.untilDone(ctx)
}

// database is the server of DEV_DATABASE_URL, or a private one that ends with
// this program.
func (c *devCommand) database(ctx context.Context, std streams) (url string, closeServer func(), err error) {
	if c.DevDatabaseURL != "" {
		if c.DevDatabaseURL, err = clean("DEV_DATABASE_URL", c.DevDatabaseURL); err != nil {
			return "", nil, err
		}
		return c.DevDatabaseURL, func() {}, checkURL("DEV_DATABASE_URL", c.DevDatabaseURL)
	}
	fmt.Fprintln(std.out, "starting a private PostgreSQL ...")
	server, err := pgdev.Start(ctx, pgdev.Config{Durable: true})
	if err != nil {
		return "", nil, err
	}
	return server.DatabaseURL("postgres"), func() {
		if err := server.Close(); err != nil {
			fmt.Fprintf(std.err, "%s: %v\n", programName(), err)
		}
	}, nil
}

// devSources accept the secrets of Lumin's documentation, also for the apps that job
// types ask for.
func devSources(registry *worker.Registry) (map[string]*lumin.Keyring, error) {
	account, err := lumin.NewKeyring(sample.AccountKey)
	if err != nil {
		return nil, err
	}
	app, err := lumin.NewKeyring(sample.AppSecret)
	if err != nil {
		return nil, err
	}
	sources := map[string]*lumin.Keyring{store.AccountSource: account, "app:demo": app}
	for source := range registry.Sources() {
		if source != store.AccountSource {
			sources[source] = app
		}
	}
	return sources, nil
}

// prepareDemo makes the table that the demo's job type writes to.
func prepareDemo(ctx context.Context, url string) error {
	conn, err := pgopen.Conn(ctx, url, pgopen.Options{Writes: true})
	if err != nil {
		return fmt.Errorf("connect for the demo: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `
		CREATE SCHEMA IF NOT EXISTS lumin_demo;
		CREATE TABLE IF NOT EXISTS lumin_demo.invoices (
			id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			signature_request_id text NOT NULL,
			event_key uuid NOT NULL
		)`)
	if err != nil {
		return fmt.Errorf("make the demo's table: %w", err)
	}
	return nil
}

// howToLook says where everything is. An address that was given is not shown: it
// may hold a password.
func (c *devCommand) howToLook(std streams, s *service, url string) {
	shown := "'" + url + "'"
	if c.DevDatabaseURL != "" {
		shown = `"$DEV_DATABASE_URL"`
	}
	fmt.Fprintf(std.out, `
Look at it:
  psql %[1]s -c 'TABLE lumin.signature_requests'
  export DATABASE_URL=%[1]s   # for: %[6]s events list, events show 1, replays list
  http://%[2]s/readyz  http://%[2]s/metrics
Send something:
  %[6]s trigger --scenario signing --url http://%[3]s
  POST http://%[3]s/webhooks/account     signed with %[4]s
  POST http://%[3]s/webhooks/apps/demo   signed with %[5]s
Serving until Ctrl-C.
`, shown, s.admin.addr(), s.public.addr(), sample.AccountKey, sample.AppSecret, invocation())
}
