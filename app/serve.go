package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/ingest"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/service"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

type serveCommand struct {
	databaseSettings
	sourceSettings
	logSettings
	listenSettings
	tlsSettings
	callerSettings
	adminSettings
	retentionSettings
	luminSettings
	webhookSettings
	alertLimits
	builtInSettings `group:"Built-in job types:"`
	Role            string         `env:"LUMIN_ROLE" enum:"all,ingest,worker" default:"all" help:"all: receive deliveries and run jobs; ingest: only receive; worker: only run jobs."`
	Workers         *int           `env:"WORKERS" placeholder:"N" help:"Number of jobs that each queue runs at once. By default 16, and in a queue of a transactional job type two for each CPU, 4 to 16."`
	Queue           map[string]int `env:"QUEUES" mapsep:"," placeholder:"NAME=N,..." help:"Number of jobs that these queues run at once, instead of WORKERS."`
	DrainDelay      time.Duration  `env:"DRAIN_DELAY" default:"5s" help:"How long to keep receiving after a stop signal, while /readyz already answers 503. A second signal skips the rest."`
	MaxEventAge     time.Duration  `env:"MAX_EVENT_AGE" default:"48h" help:"Events older than this are late; 0 accepts any age. Lumin's retries come up to 30 h 20 min after the event."`
	LateEvents      string         `env:"LATE_EVENTS" enum:"refuse,store" default:"refuse" help:"refuse: answer deliveries of late events with 400; store: answer 200 and keep them without running job types, for replay --late."`
}

// listenSettings are the addresses of the listeners.
type listenSettings struct {
	ListenAddr      string `env:"LISTEN_ADDR" placeholder:"HOST:PORT" help:"Public listener, for Lumin; 127.0.0.1:8080 by default."`
	Port            *int   `env:"PORT" placeholder:"N" help:"Public listener on this port of every address, if LISTEN_ADDR is not set."`
	AdminListenAddr string `env:"ADMIN_LISTEN_ADDR" placeholder:"HOST:PORT" help:"Health, metrics and the dashboard; 127.0.0.1:8081 by default."`
}

// Default addresses of the listeners.
const (
	defaultPublicAddr = "127.0.0.1:8080"
	defaultAdminAddr  = "127.0.0.1:8081"
)

// adminAddr is the address of the admin listener.
func (s listenSettings) adminAddr() string { return cmp.Or(s.AdminListenAddr, defaultAdminAddr) }

// publicAddr is the address of the public listener. host is for a PORT alone.
func (s listenSettings) publicAddr(host string) string {
	switch {
	case s.ListenAddr != "":
		return s.ListenAddr
	case s.Port != nil:
		return net.JoinHostPort(host, strconv.Itoa(*s.Port))
	}
	return defaultPublicAddr
}

// Run serves until the program is stopped.
func (c *serveCommand) Run(ctx context.Context, std streams, jobTypes JobTypes, unknown []unknownSetting) error {
	logger, closeLog := service.NewLogger(std.log, c.handler)
	defer closeLog()
	logUnknownSettings(logger, unknown)
	cfg, err := c.config(ctx, logger, jobTypes)
	if err != nil {
		return err
	}
	cfg.LogQueue = std.log
	s, err := service.New(ctx, cfg)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// config turns the settings into those of a service, and refuses what cannot
// work.
func (c *serveCommand) config(ctx context.Context, logger *slog.Logger, jobTypes JobTypes) (cfg service.Config, err error) {
	cfg = service.Config{
		Logger: logger, HandleSignals: true,
		Public: service.Address{HostPort: c.publicAddr("")}, Admin: service.Address{HostPort: c.adminAddr()},
		Ingest: c.Role != "worker", Work: c.Role != "ingest",
		MaxWorkers: c.maxWorkers(), Queues: c.Queue, MaxEventAge: c.MaxEventAge, StoreLate: c.LateEvents == "store", DrainDelay: c.DrainDelay,
	}
	if err := c.checkRanges(); err != nil {
		return cfg, err
	}
	if cfg.MaxBodyMemory, err = c.maxBodyMemory(); err != nil {
		return cfg, err
	}
	if cfg.TrustedProxies, err = c.trustedProxies(); err != nil {
		return cfg, err
	}
	if err := c.adminSettings.addTo(&cfg); err != nil {
		return cfg, err
	}
	if cfg.Retention, err = c.policy(c.MaxEventAge); err != nil {
		return cfg, err
	}
	if cfg.Alerts, err = c.alerting(); err != nil {
		return cfg, err
	}
	if cfg.Alerts.Limits, err = c.limits(); err != nil {
		return cfg, err
	}
	if cfg.DatabaseURL, err = c.writableURL(); err != nil {
		return cfg, err
	}
	if cfg.Tracer, err = newTracer(logger); err != nil {
		return cfg, err
	}
	if cfg.Ingest {
		if cfg.ReadCertificate, err = c.certificate(); err != nil {
			return cfg, err
		}
		if cfg.Sources, err = c.keyrings(); err != nil {
			return cfg, err
		}
		if c.inFiles() {
			cfg.ReadSources = c.keyrings
		}
	}
	env := Env{retainEvents: c.RetainEvents.d}
	if env.Lumin, env.LuminAPIKey, err = c.client(); err != nil {
		return cfg, err
	}
	if err := addJobTypes(ctx, &cfg, jobTypes, env, c.builtInSettings); err != nil {
		return cfg, err
	}
	if cfg.Ingest {
		err = checkSourcesOf(cfg.Registry, cfg.Sources)
	}
	return cfg, err
}

// maxWorkers returns WORKERS; 0 means the default.
func (c *serveCommand) maxWorkers() int {
	if c.Workers == nil {
		return 0
	}
	return *c.Workers
}

// maxDrainDelay is longer than any load balancer needs to notice that the
// program is not ready.
const maxDrainDelay = 5 * time.Minute

// checkRanges refuses numbers and durations that cannot be right. Durations are
// never negative: [duration.Parse] refuses those.
func (c *serveCommand) checkRanges() error {
	if c.DrainDelay > maxDrainDelay {
		return advice.Usage("DRAIN_DELAY is "+c.DrainDelay.String(), "give 0s to 5m: the time that a load balancer takes to notice that /readyz answers 503")
	}
	if c.MaxEventAge < 0 || (c.MaxEventAge > 0 && c.MaxEventAge < ingest.MinEventAge) {
		return advice.Usage(fmt.Sprintf("MAX_EVENT_AGE is %s, which would refuse Lumin's own retries", c.MaxEventAge),
			"they come up to %s late: give at least %s, or 0 for any age", lumin.RetryWindow, ingest.MinEventAge)
	}
	if c.Workers != nil && (*c.Workers < 1 || *c.Workers > 1000) {
		return advice.Usage(fmt.Sprintf("WORKERS is %d", *c.Workers), "give 1 to 1000, or leave it out for a number that suits the CPUs")
	}
	return nil
}

// addJobTypes makes the registry: first the program's job types, then the
// built-in ones. Job types get a pool of their own.
func addJobTypes(ctx context.Context, cfg *service.Config, jobTypes JobTypes, env Env, builtIn builtInSettings) (err error) {
	if cfg.JobsDB, err = openJobsDB(ctx, cfg.DatabaseURL, cmp.Or(cfg.MaxWorkers, worker.DefaultMaxWorkers), cfg.Tracer); err != nil {
		return err
	}
	env.Logger, env.DB = cfg.Logger, cfg.JobsDB
	if cfg.Registry, err = makeRegistry(ctx, jobTypes, env); err == nil {
		err = builtIn.addTo(ctx, cfg.Registry, env)
	}
	if err != nil {
		cfg.JobsDB.Close()
	}
	return err
}

// makeRegistry makes the registry of the program's own job types.
func makeRegistry(ctx context.Context, jobTypes JobTypes, env Env) (registry *worker.Registry, err error) {
	registry, err = jobTypes(ctx, env)
	switch {
	case errors.Is(err, advice.ErrUsage):
	case err != nil:
		err = advice.Add(fmt.Errorf("make the job types: %w", err), "the function given to app.Main says so; --help, migrate, events and replay (without --try) do not call it")
	case registry == nil:
		err = errors.New("make the job types: the function given to app.Main returned no registry")
	case registry.Err() != nil:
		err = advice.Add(registry.Err(), "job types are registered in the function given to app.Main")
	}
	return registry, err
}

// checkSourcesOf refuses job types for a source whose deliveries would be
// refused.
func checkSourcesOf(registry *worker.Registry, configured map[string]*lumin.Keyring) error {
	wanted := registry.Sources()
	for _, source := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := configured[source]; !ok {
			return advice.Usage(fmt.Sprintf("job type %s wants events of source %s, of which no secret is configured", strings.Join(wanted[source], ", "), source),
				"add the secret to LUMIN_ACCOUNT_API_KEYS or LUMIN_APP_SECRETS, or take the source out of what Sources returns")
		}
	}
	return nil
}
