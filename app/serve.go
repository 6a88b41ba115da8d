package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"lumin-ingest/ingest"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

type serveCommand struct {
	databaseSettings
	sourceSettings
	logSettings
	listenSettings
	Role        string        `env:"LUMIN_ROLE" enum:"all,ingest,worker" default:"all" help:"all, or only to receive (ingest) or to work (worker)."`
	Workers     int           `env:"WORKERS" default:"16" help:"Jobs that run at a time in each queue."`
	MaxEventAge time.Duration `env:"MAX_EVENT_AGE" default:"48h" help:"Refuse deliveries of older events; 0 for any age. Lumin's retries come up to 30 h 20 min late."`
	LuminAPIKey string        `env:"LUMIN_API_KEY" placeholder:"KEY" help:"For job types that call Lumin."`
	APIKeyFile  string        `name:"lumin-api-key-file" env:"LUMIN_API_KEY_FILE" placeholder:"FILE" help:"File that holds it."`
}

// listenSettings say where the program listens.
type listenSettings struct {
	ListenAddr      string `env:"LISTEN_ADDR" placeholder:"HOST:PORT" help:"Public listener, for Lumin; 127.0.0.1:8080 by default."`
	Port            *int   `env:"PORT" placeholder:"N" help:"Public listener on this port of every address, if LISTEN_ADDR is not set."`
	AdminListenAddr string `env:"ADMIN_LISTEN_ADDR" default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Health and metrics."`
}

// publicAddr is where to receive deliveries; host goes with a PORT.
func (s listenSettings) publicAddr(host string) string {
	switch {
	case s.ListenAddr != "":
		return s.ListenAddr
	case s.Port != nil:
		return net.JoinHostPort(host, strconv.Itoa(*s.Port))
	}
	return "127.0.0.1:8080"
}

// Run implements the command.
func (c *serveCommand) Run(ctx context.Context, std streams, jobTypes JobTypes) error {
	cfg, err := c.config(ctx, std, jobTypes)
	if err != nil {
		return err
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	return s.untilDone(ctx)
}

// config turns settings into what the program is made of, and refuses what
// cannot work.
func (c *serveCommand) config(ctx context.Context, std streams, jobTypes JobTypes) (serviceConfig, error) {
	cfg := serviceConfig{
		logger: c.logger(std), publicAddr: c.publicAddr(""), adminAddr: c.AdminListenAddr,
		ingest: c.Role != "worker", work: c.Role != "ingest",
		maxWorkers: c.Workers, maxEventAge: c.MaxEventAge,
	}
	if c.MaxEventAge < 0 || (c.MaxEventAge > 0 && c.MaxEventAge < ingest.MinEventAge) {
		return cfg, usage(fmt.Sprintf("MAX_EVENT_AGE is %s, which would refuse Lumin's own retries", c.MaxEventAge),
			"they come up to %s late: give at least %s, or 0 for any age", lumin.RetryWindow, ingest.MinEventAge)
	}
	if c.Workers < 1 || c.Workers > 1000 {
		return cfg, usage(fmt.Sprintf("WORKERS is %d", c.Workers), "give 1 to 1000")
	}
	var err error
	if cfg.databaseURL, err = c.url(); err != nil {
		return cfg, err
	}
	if cfg.ingest {
		if cfg.sources, err = c.keyrings(); err != nil {
			return cfg, err
		}
	}
	apiKey, err := secret("LUMIN_API_KEY", c.LuminAPIKey, c.APIKeyFile)
	if err != nil {
		return cfg, err
	}
	cfg.registry, err = makeRegistry(ctx, jobTypes, Env{Logger: cfg.logger, LuminAPIKey: apiKey})
	return cfg, err
}

func makeRegistry(ctx context.Context, jobTypes JobTypes, env Env) (*worker.Registry, error) {
	registry, err := jobTypes(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("make the job types: %w", err)
	}
	if registry == nil {
		return nil, errors.New("make the job types: the function given to app.Main returned no registry")
	}
	if err := registry.Err(); err != nil {
		return nil, hint(err, "job types are registered in the function given to app.Main")
	}
	return registry, nil
}

// serviceConfig is what a service is started with.
type serviceConfig struct {
	logger      *slog.Logger
	databaseURL string
	publicAddr  string
	adminAddr   string
	sources     map[string]*lumin.Keyring
	registry    *worker.Registry
	ingest      bool // receive deliveries
	work        bool // work jobs
	maxWorkers  int
	maxEventAge time.Duration
}
