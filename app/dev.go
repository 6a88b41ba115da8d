package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgdownload"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// devCommand has no DATABASE_URL. A shell may have it set to a production
// database, and dev accepts deliveries that are signed with published keys.
type devCommand struct {
	listenSettings
	devBuiltIn
	DevDatabaseURL string `env:"DEV_DATABASE_URL" placeholder:"URL" help:"Use this server and database instead of a private one."`
	Demo           bool   `default:"true" negatable:"" help:"Run the demo before serving."`
}

// fills reports whether dev adds sample data for the dashboard: not to a database
// that it has not made.
func (c *devCommand) fills() bool { return c.Demo && c.DevDatabaseURL == "" }

// nextPorts is how many ports in use dev skips before it gives up.
const nextPorts = 100

// Run serves with public keys until the program is stopped.
func (c *devCommand) Run(ctx context.Context, std streams, jobTypes JobTypes) error {
	url, closeServer, err := c.database(ctx, std)
	if err != nil {
		return err
	}
	defer closeServer()
	if err := migrations.Up(ctx, url); err != nil {
		if c.DevDatabaseURL != "" {
			return advice.Add(err, "check DEV_DATABASE_URL and whether the server runs; unset, a private server is started")
		}
		return err
	}
	logger, closeLog := service.NewLogger(std.log, func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) })
	defer closeLog()
	log := demoLog{Handler: logger.Handler(), demonstrating: new(atomic.Bool)}
	log.demonstrating.Store(true)
	demo := newDemo(std.out)
	cfg, closeAPI, err := c.config(ctx, std, url, slog.New(log), jobTypes)
	if err != nil {
		return err
	}
	defer closeAPI()
	if c.Demo {
		if err := c.prepare(ctx, demo, url, &cfg); err != nil {
			return err
		}
	}
	s, err := service.New(ctx, cfg)
	if err != nil {
		return err
	}
	c.showMoved(std, s, cfg)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	go func() {
		if c.Demo {
			err := c.demonstrate(ctx, demo, s)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				fail(&demoError{err})
				return
			}
		}
		log.demonstrating.Store(false)
		c.howToLook(std, s, url)
	}()
	err = s.Run(ctx)
	var failed *demoError
	if errors.As(context.Cause(ctx), &failed) {
		return errors.Join(failed, err)
	}
	return err
}

// prepare adds the job types of the demo and of the sample data.
func (c *devCommand) prepare(ctx context.Context, demo *demo, url string, cfg *service.Config) (err error) {
	if err := demo.prepare(ctx, url, cfg.Registry); err != nil {
		return err
	}
	if c.fills() {
		addSampleJobs(cfg.Registry)
		cfg.Sources, err = devSources(cfg.Registry)
	}
	return err
}

// demonstrate runs the demo, and then adds the sample data.
func (c *devCommand) demonstrate(ctx context.Context, demo *demo, s *service.Service) error {
	if err := demo.run(ctx, s); err != nil || !c.fills() {
		return err
	}
	return demo.fill(ctx, s)
}

// config makes the configuration of the service. The returned function stops
// the stand-in for Lumin's API.
func (c *devCommand) config(ctx context.Context, std streams, url string, logger *slog.Logger, jobTypes JobTypes) (cfg service.Config, closeAPI func(), err error) {
	cfg = service.Config{
		Logger: logger, LogQueue: std.log, DatabaseURL: url,
		Public: service.Address{HostPort: c.publicAddr("127.0.0.1")}, Admin: service.Address{HostPort: c.adminAddr()},
		Ingest: true, Work: true, MaxWorkers: 8,
		MaxEventAge: 0, // the example in Lumin's documentation is from 2023
	}
	if c.ListenAddr == "" && c.Port == nil {
		cfg.Public.NextPorts = nextPorts
	}
	if c.AdminListenAddr == "" {
		cfg.Admin.NextPorts = nextPorts
	}
	env, closeAPI, err := c.env(std)
	if err != nil {
		return cfg, nil, err
	}
	err = addJobTypes(ctx, &cfg, jobTypes, env, c.builtInSettings)
	if err == nil {
		cfg.Sources, err = devSources(cfg.Registry)
	}
	if err != nil {
		closeAPI()
		return cfg, nil, err
	}
	return cfg, closeAPI, nil
}

// showMoved prints the addresses that differ from the defaults because those
// are in use.
func (c *devCommand) showMoved(std streams, s *service.Service, cfg service.Config) {
	if cfg.Public.NextPorts > 0 && s.PublicAddr() != cfg.Public.HostPort {
		fmt.Fprintf(std.out, "%s is in use: receiving deliveries on %s instead\n", cfg.Public.HostPort, s.PublicAddr())
	}
	if cfg.Admin.NextPorts > 0 && s.AdminAddr() != cfg.Admin.HostPort {
		fmt.Fprintf(std.out, "%s is in use: health and metrics are on %s instead\n", cfg.Admin.HostPort, s.AdminAddr())
	}
}

// database returns DEV_DATABASE_URL, or the URL of a private server that ends
// with this program.
func (c *devCommand) database(ctx context.Context, std streams) (url string, closeServer func(), err error) {
	if c.DevDatabaseURL != "" {
		if c.DevDatabaseURL, err = clean("DEV_DATABASE_URL", c.DevDatabaseURL); err != nil {
			return "", nil, err
		}
		return c.DevDatabaseURL, func() {}, checkURL("DEV_DATABASE_URL", c.DevDatabaseURL)
	}
	fmt.Fprintln(std.out, "starting a private PostgreSQL ...")
	server, err := pgdev.Start(ctx, pgdev.Config{Durable: true, Download: pgdownload.Fetch})
	if err != nil {
		return "", nil, err
	}
	return server.DatabaseURL("postgres"), func() {
		if err := server.Close(); err != nil {
			fmt.Fprintf(std.err, "%s: %v\n", programName(), err)
		}
	}, nil
}

// devSources returns the secrets in Lumin's documentation: for the account, for
// the app demo, and for the apps that job types subscribe to.
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

// howToLook prints where everything is. It does not print DEV_DATABASE_URL,
// which may hold a password.
func (c *devCommand) howToLook(std streams, s *service.Service, url string) {
	shown := "'" + url + "'"
	if c.DevDatabaseURL != "" {
		shown = `"$DEV_DATABASE_URL"`
	}
	invented := ""
	if c.fills() {
		invented = "   sample data; its pictures of the last month are made up"
	}
	fmt.Fprintf(std.out, `
Look at it:
  http://%[2]s/   the dashboard%[7]s
  psql %[1]s -c 'TABLE lumin.signature_requests'
  export DATABASE_URL=%[1]s   # for: %[6]s events list, events show 1, replays list
  http://%[2]s/readyz  http://%[2]s/metrics
Send something:
  %[6]s trigger --scenario signing --url http://%[3]s
  POST http://%[3]s/webhooks/account     signed with %[4]s
  POST http://%[3]s/webhooks/apps/demo   signed with %[5]s
Serving until Ctrl-C.
`, shown, s.AdminAddr(), s.PublicAddr(), sample.AccountKey, sample.AppSecret, invocation(), invented)
}
