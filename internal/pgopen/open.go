package pgopen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Options are the properties of connections that depend on their use.
type Options struct {
	// Name is shown in pg_stat_activity as application_name, unless the URL has
	// one; empty means lumin-ingest.
	Name string

	// MaxConns is the size of a pool; 0 means 4.
	MaxConns int

	// KeptConns is how many connections a pool opens at its start and keeps, so
	// that it has them when others take the rest of the server's; 0 means none.
	KeptConns int

	// Writes refuses a server that accepts no writes: a standby, or one with
	// default_transaction_read_only. From a list of hosts, one that accepts
	// writes is preferred even without Writes.
	Writes bool

	// StatementTimeout is how long the server works on a statement before it
	// cancels it; 0 means no limit. It frees the connection and the locks of a
	// client that no longer waits. It does not cut a COMMIT short.
	StatementTimeout time.Duration

	// LockTimeout is how long a statement may wait for one lock; 0 means no
	// limit.
	LockTimeout time.Duration

	// IdleInTransaction is how long a transaction may wait for its client
	// before the server ends the session; 0 means 30 s. It must exceed every
	// wait of the code in a transaction. It frees the locks of a client that
	// was stopped but whose system still answers.
	IdleInTransaction time.Duration

	// NoticeSilence asks the server about a session that has not answered for
	// two seconds. If the session waits for this side, the connection is
	// closed. If the session is working, the wait continues.
	NoticeSilence bool

	// NoJIT keeps the server from compiling its plans. Compiling takes longer than
	// a short statement whose plan looks expensive, such as one with a LIMIT that
	// ends it early.
	NoJIT bool

	// Tracer sees the statements; nil: nothing does.
	Tracer pgx.QueryTracer

	// AfterConnect is called with each new connection.
	AfterConnect func(context.Context, *pgx.Conn) error
}

const (
	// connectTimeout bounds how long a connection may take, unless the URL says
	// so.
	connectTimeout = 5 * time.Second

	// silence is how long an answer may take before NoticeSilence asks the
	// server.
	silence = 2 * time.Second

	defaultMaxConns = 4
)

// Check refuses a URL that cannot work. It does not connect.
func Check(databaseURL string, o Options) error {
	_, err := o.config(databaseURL)
	return err
}

// Pool returns a pool. It does not wait for a connection.
func Pool(ctx context.Context, databaseURL string, o Options) (*pgxpool.Pool, error) {
	config, err := o.config(databaseURL)
	if err != nil {
		return nil, err
	}
	session, answers := o.session(), &pooler{}
	config.BeforeConnect = func(ctx context.Context, config *pgx.ConnConfig) error {
		if err := answers.detect(ctx, config); err != nil {
			return err
		}
		if answers.state.Load() == behindPooler {
			withoutSession(config, session)
		}
		return nil
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		pooled := answers.state.Load() == behindPooler
		if err := setSession(ctx, conn, session, pooled); err != nil {
			return err
		}
		if o.NoticeSilence && !pooled {
			if err := noticeSilence(ctx, conn); err != nil {
				return err
			}
		}
		if o.AfterConnect != nil {
			return o.AfterConnect(ctx, conn)
		}
		return nil
	}
	return New(ctx, config)
}

// New returns a pool with a configuration that came from a pool of this package
// and may have been changed.
func New(ctx context.Context, config *pgxpool.Config) (pool *pgxpool.Pool, err error) {
	config.ShouldPing = func(ctx context.Context, idle pgxpool.ShouldPingParams) bool {
		if (idle.IdleDuration > pingAfter || hasUnread(idle.Conn)) && !answersPing(ctx, idle.Conn) {
			Drop(pool)
		}
		return false
	}
	config.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) { return !conn.IsClosed(), nil }
	if pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open the connection pool: %w", err)
	}
	return pool, nil
}

// Conn returns a single connection.
func Conn(ctx context.Context, databaseURL string, o Options) (*pgx.Conn, error) {
	config, err := o.config(databaseURL)
	if err != nil {
		return nil, err
	}
	session := o.session()
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	pooled := refusesParameters(err)
	if pooled {
		withoutSession(config.ConnConfig, session)
		conn, err = pgx.ConnectConfig(ctx, config.ConnConfig)
	}
	if err == nil {
		err = setSession(ctx, conn, session, pooled)
	}
	if err == nil && o.AfterConnect != nil {
		err = o.AfterConnect(ctx, conn)
	}
	if err != nil && conn != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, err
}

// config reads a URL and adds the settings of this package.
func (o Options) config(databaseURL string) (*pgxpool.Config, error) {
	config, options, err := parse(databaseURL)
	if err != nil {
		return nil, err
	}
	if err := o.addSettings(config, options); err != nil {
		return nil, err
	}
	standard, err := pgxpool.ParseConfig("postgres://host/x?sslmode=disable") // pgxpool's own sizes and times
	if err != nil {
		return nil, fmt.Errorf("read the defaults of a pool: %w", err)
	}
	conn := config.ConnConfig
	standard.ConnConfig = conn
	standard.MaxConns, standard.MinConns = int32(max(o.MaxConns, 0)), int32(o.KeptConns)
	if standard.MaxConns == 0 {
		standard.MaxConns = defaultMaxConns
	}
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = connectTimeout
	}
	conn.DialFunc, conn.AfterNetConnect = dial, watch
	conn.Tracer = o.Tracer
	for name, value := range o.session() {
		conn.RuntimeParams[name] = value
	}
	if conn.OnPgError != nil {
		conn.OnPgError = closeReadOnly(conn.OnPgError)
	}
	if o.Writes || (conn.ValidateConnect == nil && severalHosts(conn)) {
		conn.ValidateConnect = RefuseReadOnly
	}
	return standard, nil
}

func severalHosts(config *pgx.ConnConfig) bool {
	for _, other := range config.Fallbacks {
		if other.Host != config.Host || other.Port != config.Port {
			return true
		}
	}
	return false
}

// closeReadOnly closes a connection whose server answered 25006
// (read_only_sql_transaction): it has become a standby, or was set to
// read-only. The next user of the pool gets a new connection, perhaps to
// another server.
func closeReadOnly(otherwise pgconn.PgErrorHandler) pgconn.PgErrorHandler {
	return func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		return err.Code != "25006" && otherwise(conn, err)
	}
}

// ErrReadOnly is wrapped by the error of connecting to a server that accepts no
// writes.
var ErrReadOnly = errors.New("the database is read-only: a standby, or default_transaction_read_only is on for the role or the database")

// RefuseReadOnly returns an error that wraps [ErrReadOnly] if the server accepts
// no writes. If a new connection is checked, pgx tries the next of several hosts
// after an error.
func RefuseReadOnly(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, "SHOW transaction_read_only").ReadAll()
	if err != nil {
		return fmt.Errorf("ask whether the database accepts writes: %w", err)
	}
	if len(results) == 1 && len(results[0].Rows) == 1 && strings.EqualFold(string(results[0].Rows[0][0]), "on") {
		return ErrReadOnly
	}
	return nil
}
