package service

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/alerting"
	"lumin-ingest/internal/servicelog"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/lumin"
	"lumin-ingest/store/retention"
	"lumin-ingest/worker"
)

// Config configures a [Service]. A field must be set unless its comment
// describes the zero value.
type Config struct {
	// Logger receives the log.
	Logger *slog.Logger

	// LogQueue is the queue behind Logger. The lines that it drops are counted
	// in a metric. nil: there is no such metric.
	LogQueue *servicelog.Queue

	// HandleSignals makes SIGHUP reload the secrets, and a second stop signal
	// skip the drain delay. false: signals have only the effects that the
	// caller gives them. The first stop signal must cancel the context of Run.
	HandleSignals bool

	// DatabaseURL is the database. It must pass pgopen.Check with Writes.
	DatabaseURL string

	// Admin is the address of the admin listener: health, metrics and the dashboard.
	Admin Address

	// AdminDatabaseURL is the same database with the login of the dashboard. "":
	// DatabaseURL.
	AdminDatabaseURL string

	// AdminTokens lists who may sign in to the dashboard. nil: no one with a token.
	AdminTokens []access.Token

	// ReadAdminTokens reads the tokens again while the service runs, like
	// ReadSources. nil: they do not change.
	ReadAdminTokens func() ([]access.Token, error)

	// AdminProxies sign users in to the dashboard. The zero value: none.
	AdminProxies access.Proxies

	// AdminHosts lists more names of the dashboard; see access.Config. nil: none.
	AdminHosts []string

	// Registry holds the job types. A service that does not work needs it too:
	// it decides which runs an event gets.
	Registry *worker.Registry

	// JobsDB is the pool that job types use outside their transactions. The
	// Service closes it after the last job, and New closes it if it fails.
	JobsDB *pgxpool.Pool

	// CPUs is the number of processors that defaults are for. 0: those that the
	// program uses when New is called.
	CPUs int

	// Tracer makes the traces. The Service shuts it down. nil: there are none.
	Tracer *tracing.Tracer

	// Alerts says where alerts are sent. Zero: nowhere.
	Alerts alerting.Settings

	// Ingest makes the service receive deliveries. The rest of this block is
	// used only then.
	Ingest bool

	// Public is the address for Lumin's deliveries.
	Public Address

	// ReadCertificate reads the certificate of the public listener, with its key
	// and Leaf. It is called again while the service runs, like ReadSources. nil:
	// the listener speaks plain HTTP.
	ReadCertificate func() (*tls.Certificate, error)

	// Sources holds the secrets of each source.
	Sources map[string]*lumin.Keyring

	// ReadSources reloads the secrets while the service runs. nil: they do not
	// change.
	ReadSources func() (map[string]*lumin.Keyring, error)

	// SourcesPoll is how often ReadSources and ReadCertificate are called. 0:
	// every 2 s.
	SourcesPoll time.Duration

	// SourcesTimeout bounds the wait for one call of either. 0: 10 s.
	SourcesTimeout time.Duration

	// MaxEventAge is the age above which an event is refused. 0: no limit.
	MaxEventAge time.Duration

	// StoreLate stores events above MaxEventAge without running job types, instead
	// of refusing them.
	StoreLate bool

	// MaxBodyMemory bounds the memory of all bodies that are being received, in
	// bytes. 0: the default of package ingest.
	MaxBodyMemory int64

	// TrustedProxies lists the networks whose X-Forwarded-For is trusted. nil:
	// none.
	TrustedProxies []netip.Prefix

	// DrainDelay is how long the service keeps receiving after the stop signal,
	// while /readyz answers 503. 0: there is no delay.
	DrainDelay time.Duration

	// Work makes the service run jobs. The fields of this block count only
	// then.
	Work bool

	// MaxWorkers is how many jobs each queue runs at once. 0: the default of
	// package worker, which follows CPUs.
	MaxWorkers int

	// Queues overrides MaxWorkers for the queues that it names. nil: for none.
	Queues map[string]int

	// Retention defines how long events and bodies are kept. Zero: forever.
	Retention retention.Policy

	alertsEvery time.Duration // time between two looks for alerts; 0: the usual minute
}

// Address is where a listener listens.
type Address struct {
	HostPort string

	// NextPorts is how many following ports may be tried if the port is in use.
	NextPorts int
}

const (
	// sourcesPoll is frequent, so that a rotation needs no signal. The content
	// of the files counts, not their times: orchestrators swap a symbolic link
	// somewhere above the files.
	sourcesPoll = 2 * time.Second

	// sourcesTimeout limits the wait for files on a mount that hangs.
	sourcesTimeout = 10 * time.Second
)

// worker returns the part of the configuration that decides how jobs run.
func (c Config) worker() worker.Config {
	return worker.Config{Registry: c.Registry, Logger: c.Logger, CPUs: c.CPUs, MaxWorkers: c.MaxWorkers, Queues: c.Queues, Retention: c.Retention, Tracer: c.Tracer}
}

// role returns the role of the service, as LUMIN_ROLE names it.
func (c Config) role() string {
	switch {
	case !c.Work:
		return "ingest"
	case !c.Ingest:
		return "worker"
	}
	return "all"
}
