package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/ingest"
	"lumin-ingest/internal/servicelog"
	"lumin-ingest/lumin"
	"lumin-ingest/store/retention"
	"lumin-ingest/worker"
)

type serveCommand struct {
	databaseSettings
	sourceSettings
	logSettings
	listenSettings
	callerSettings
	retentionSettings
	luminSettings
	builtInSettings `group:"Built-in job types:"`
	Role            string         `env:"LUMIN_ROLE" enum:"all,ingest,worker" default:"all" help:"all: receive deliveries and run jobs; ingest: only receive; worker: only run jobs."`
	Workers         int            `env:"WORKERS" default:"16" help:"Number of jobs that each queue runs at once."`
	Queue           map[string]int `env:"QUEUES" mapsep:"," placeholder:"NAME=N,..." help:"Number of jobs that these queues run at once, instead of WORKERS."`
	DrainDelay      time.Duration  `env:"DRAIN_DELAY" default:"5s" help:"How long to keep receiving after a stop signal, while /readyz already answers 503. A second signal skips the rest."`
	MaxEventAge     time.Duration  `env:"MAX_EVENT_AGE" default:"48h" help:"Refuse deliveries of events older than this; 0 accepts any age. Lumin's retries come up to 30 h 20 min late."`
}

// listenSettings say where the program listens.
type listenSettings struct {
	ListenAddr      string `env:"LISTEN_ADDR" placeholder:"HOST:PORT" help:"Public listener, for Lumin; 127.0.0.1:8080 by default."`
	Port            *int   `env:"PORT" placeholder:"N" help:"Public listener on this port of every address, if LISTEN_ADDR is not set."`
	AdminListenAddr string `env:"ADMIN_LISTEN_ADDR" placeholder:"HOST:PORT" help:"Health and metrics; 127.0.0.1:8081 by default."`
}

// Default addresses of the listeners.
const (
	defaultPublicAddr = "127.0.0.1:8080"
	defaultAdminAddr  = "127.0.0.1:8081"
)

// adminAddr is the address of the admin listener.
func (s listenSettings) adminAddr() string { return cmp.Or(s.AdminListenAddr, defaultAdminAddr) }

// publicAddr is where to receive deliveries; host goes with a PORT.
func (s listenSettings) publicAddr(host string) string {
	switch {
	case s.ListenAddr != "":
		return s.ListenAddr
	case s.Port != nil:
		return net.JoinHostPort(host, strconv.Itoa(*s.Port))
	}
	return defaultPublicAddr
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, std streams, jobTypes JobTypes, unknown []unknownSetting) error {
	logger, closeLog := std.serviceLogger(c.handler)
	defer closeLog()
	logUnknown(logger, unknown)
	cfg, err := c.config(ctx, logger, jobTypes)
	if err != nil {
		return err
	}
	cfg.log = std.log
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	cfg.rotation.hangups = hangups
	if cfg.ingest && cfg.drainDelay > 0 {
		cfg.signals = make(chan os.Signal, 2)
		signal.Notify(cfg.signals, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(cfg.signals)
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	return s.untilDone(ctx)
}

// config turns settings into what the program is made of, and refuses what
// cannot work.
func (c *serveCommand) config(ctx context.Context, logger *slog.Logger, jobTypes JobTypes) (serviceConfig, error) {
	cfg := serviceConfig{
		logger: logger, publicAddr: c.publicAddr(""), adminAddr: c.adminAddr(),
		ingest: c.Role != "worker", work: c.Role != "ingest",
		maxWorkers: c.Workers, queues: c.Queue, maxEventAge: c.MaxEventAge, drainDelay: c.DrainDelay,
	}
	if err := checkDrainDelay(c.DrainDelay); err != nil {
		return cfg, err
	}
	if c.MaxEventAge < 0 || (c.MaxEventAge > 0 && c.MaxEventAge < ingest.MinEventAge) {
		return cfg, usage(fmt.Sprintf("MAX_EVENT_AGE is %s, which would refuse Lumin's own retries", c.MaxEventAge),
			"they come up to %s late: give at least %s, or 0 for any age", lumin.RetryWindow, ingest.MinEventAge)
	}
	if c.Workers < 1 || c.Workers > 1000 {
		return cfg, usage(fmt.Sprintf("WORKERS is %d", c.Workers), "give 1 to 1000")
	}
	var err error
	if cfg.callers, err = c.limits(); err != nil {
		return cfg, err
	}
	if cfg.retention, err = c.policy(c.MaxEventAge); err != nil {
		return cfg, err
	}
	if cfg.databaseURL, err = c.writableURL(); err != nil {
		return cfg, err
	}
	if cfg.ingest {
		if cfg.sources, err = c.keyrings(); err != nil {
			return cfg, err
		}
		if c.inFiles() {
			cfg.rotation = rotation{read: c.keyrings, every: secretPoll, patience: secretPatience}
		}
	}
	var env Env
	if env.Lumin, env.LuminAPIKey, err = c.client(); err != nil {
		return cfg, err
	}
	if err := cfg.addJobTypes(ctx, jobTypes, env, c.builtInSettings); err != nil {
		return cfg, err
	}
	if cfg.ingest {
		err = checkSourcesOf(cfg.registry, cfg.sources)
	}
	return cfg, err
}

// addJobTypes makes the registry: first the program's job types, then the
// built-in ones. Job types get a pool of their own.
func (c *serviceConfig) addJobTypes(ctx context.Context, jobTypes JobTypes, env Env, builtIn builtInSettings) (err error) {
	if c.jobsDB, err = openJobsDB(ctx, c.databaseURL, c.maxWorkers); err != nil {
		return err
	}
	env.Logger, env.DB = c.logger, c.jobsDB
	c.registry, err = jobTypes(ctx, env)
	switch {
	case errors.Is(err, errUsage):
	case err != nil:
		err = hint(fmt.Errorf("make the job types: %w", err), "the function given to app.Main says so; --help, migrate, events and replay do without it")
	case c.registry == nil:
		err = errors.New("make the job types: the function given to app.Main returned no registry")
	case c.registry.Err() != nil:
		err = hint(c.registry.Err(), "job types are registered in the function given to app.Main")
	default:
		err = builtIn.addTo(ctx, c.registry, env)
	}
	if err != nil {
		c.jobsDB.Close()
	}
	return err
}

// checkSourcesOf refuses job types that wait for what cannot come.
func checkSourcesOf(registry *worker.Registry, configured map[string]*lumin.Keyring) error {
	wanted := registry.Sources()
	for _, source := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := configured[source]; !ok {
			return usage(fmt.Sprintf("job type %s wants events of source %s, of which no secret is configured", strings.Join(wanted[source], ", "), source),
				"add the secret to LUMIN_ACCOUNT_API_KEYS or LUMIN_APP_SECRETS, or take the source out of what Sources returns")
		}
	}
	return nil
}

// serviceConfig is what a service is started with.
type serviceConfig struct {
	logger      *slog.Logger
	log         *servicelog.Queue // the queue that logger writes to; nil: it writes elsewhere
	databaseURL string
	publicAddr  string
	adminAddr   string
	publicMoves int // ports in use that the listener may skip
	adminMoves  int
	sources     map[string]*lumin.Keyring
	rotation    rotation
	registry    *worker.Registry
	ingest      bool          // receive deliveries
	work        bool          // work jobs
	jobsDB      *pgxpool.Pool // what job types use besides their transactions
	maxWorkers  int
	queues      map[string]int // workers of some queues
	maxEventAge time.Duration
	callers     callerLimits
	retention   retention.Policy
	drainDelay  time.Duration
	signals     chan os.Signal // the stop signals; nil: none can shorten the drain delay
}

// role is what the program does, in the words of LUMIN_ROLE.
func (c serviceConfig) role() string {
	switch {
	case !c.work:
		return "ingest"
	case !c.ingest:
		return "worker"
	}
	return "all"
}
