//go:build unix

package faults

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/migrations"
)

const (
	database = "faults"
	owner    = "faults_owner" // owns the database, an ordinary role
	login    = "faults_app"   // of the programs, with the rights that they need
	follower = "faults_standby"

	// lookTimeout bounds one query of a server that may be broken.
	lookTimeout = 5 * time.Second
	// insistBound is how long a server may take to recover from a fault.
	insistBound = time.Minute
	// syncTimeout bounds the wait until a new standby has caught up.
	syncTimeout = time.Minute
)

// servers are the primary, its standby, and one proxy per program in front of
// them.
type servers struct {
	password     string // of owner and login
	proxies      []*pgproxy.Proxy
	asynchronous bool // commits do not wait for the standby

	mu      sync.Mutex
	primary *pgdev.Server
	standby *pgdev.Server // nil if there is none
	kept    *pgx.Conn     // an idle connection to keptOf, or nil
	keptOf  *pgdev.Server
}

// startServers starts a primary with a migrated database, one proxy per program
// and, if the run has one, a standby.
func startServers(ctx context.Context, cfg Config) (_ *servers, err error) {
	s := &servers{password: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	// By default, a standby tries to reach its primary every 5 s. Commits would
	// wait for that after each restart.
	settings := map[string]string{"wal_retrieve_retry_interval": "100ms"}
	maps.Copy(settings, cfg.settings)
	if s.primary, err = pgdev.Start(ctx, pgdev.Config{Settings: settings}); err != nil {
		return nil, err
	}
	s.asynchronous = cfg.loses
	if err := s.prepare(ctx, cfg); err != nil {
		return nil, err
	}
	if cfg.Standby {
		if err := s.follow(ctx); err != nil {
			return nil, err
		}
	}
	for range cmp.Or(cfg.programs, 2) {
		proxy, err := pgproxy.Start(s.url(s.primary, login))
		if err != nil {
			return nil, err
		}
		s.proxies = append(s.proxies, proxy)
	}
	return s, nil
}

// prepare creates the database. An ordinary role owns it, and the programs have
// a login with the roles of package migrations.
func (s *servers) prepare(ctx context.Context, cfg Config) error {
	statements := []string{
		"CREATE ROLE " + owner + " LOGIN PASSWORD '" + s.password + "'",
		"CREATE ROLE " + login + " LOGIN PASSWORD '" + s.password + "'",
		"CREATE DATABASE " + database + " OWNER " + owner,
	}
	if cfg.logFolder != "" {
		if err := moveLog(ctx, s.primary, cfg.logFolder); err != nil {
			return fmt.Errorf("move the write-ahead log: %w", err)
		}
	}
	if cfg.tablespace != "" {
		if err := giveTo(cfg.tablespace, s.primary); err != nil {
			return fmt.Errorf("prepare the database: %w", err)
		}
		statements = append(statements, "CREATE TABLESPACE small LOCATION '"+cfg.tablespace+"'",
			"ALTER DATABASE "+database+" SET TABLESPACE small")
	}
	conn, err := pgx.Connect(ctx, s.primary.URL())
	if err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("prepare the database: %w", err)
		}
	}
	if err := s.migrate(ctx, cfg); err != nil {
		return err
	}
	own, err := pgx.Connect(ctx, s.url(s.primary, owner))
	if err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	defer own.Close(ctx)
	if _, err := own.Exec(ctx, schemaSQL+" GRANT USAGE ON SCHEMA faults TO "+login+"; GRANT INSERT ON faults.effects TO "+login); err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	return nil
}

// giveTo gives a folder to the user of a server.
func giveTo(folder string, server *pgdev.Server) error {
	info, err := os.Stat(server.Dir())
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("this system does not say who owns a folder")
	}
	return os.Chown(folder, int(stat.Uid), int(stat.Gid))
}

// moveLog moves the write-ahead log of a server to a new folder.
func moveLog(ctx context.Context, server *pgdev.Server, to string) error {
	if err := server.Halt(pgdev.Fast); err != nil {
		return err
	}
	from := filepath.Join(server.Dir(), "data", "pg_wal")
	if text, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, text)
	}
	if err := errors.Join(os.RemoveAll(from), os.Symlink(to, from)); err != nil {
		return err
	}
	return server.Resume(ctx)
}

// migrate creates the schema and gives login the rights of the programs. A
// version that has no roles gets the rights of the owner.
func (s *servers) migrate(ctx context.Context, cfg Config) error {
	if cfg.migrate != nil {
		if err := cfg.migrate(ctx, s.url(s.primary, owner)); err != nil {
			return err
		}
		return s.exec(ctx, "GRANT "+owner+" TO "+login)
	}
	if err := migrations.Up(ctx, s.url(s.primary, owner)); err != nil {
		return err
	}
	if _, err := migrations.GrantRoles(ctx, s.primary.DatabaseURL(database)); err != nil {
		return err
	}
	return s.exec(ctx, "GRANT lumin_ingest, lumin_worker TO "+login)
}

// url returns the URL of the database on a server, for owner or login.
func (s *servers) url(server *pgdev.Server, role string) string {
	address, err := url.Parse(server.DatabaseURL(database))
	if err != nil {
		panic(err) // package pgdev makes valid URLs
	}
	address.User = url.UserPassword(role, s.password)
	return address.String()
}

func (s *servers) current() *pgdev.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.primary
}

// query calls f with a superuser's connection to the primary. Network faults do
// not affect it.
func (s *servers) query(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	return s.queryWithin(ctx, lookTimeout, f)
}

func (s *servers) queryWithin(ctx context.Context, within time.Duration, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	server := s.current()
	if conn := s.take(server); conn != nil {
		err := f(ctx, conn)
		if !conn.IsClosed() || ctx.Err() != nil {
			s.keep(server, conn)
			return err
		}
		// A fault has ended the session since its last use.
	}
	config, err := pgx.ParseConfig(server.DatabaseURL(database))
	if err != nil {
		return err
	}
	config.RuntimeParams["jit"] = "off" // compiling a count takes longer than the count
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer s.keep(server, conn)
	return f(ctx, conn)
}

// take returns the connection that was kept, or nil. Queries are frequent, and a new
// connection would cost the server more than most of them.
func (s *servers) take(server *pgdev.Server) *pgx.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.kept
	if conn == nil || s.keptOf != server {
		return nil
	}
	s.kept = nil
	return conn
}

// keep keeps a connection for the next query, unless it is broken or another is kept.
func (s *servers) keep(server *pgdev.Server, conn *pgx.Conn) {
	s.mu.Lock()
	surplus := conn
	if !conn.IsClosed() && (s.kept == nil || s.keptOf != server) {
		surplus, s.kept, s.keptOf = s.kept, conn, server
	}
	s.mu.Unlock()
	if surplus != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // the server may be stopped
		defer cancel()
		_ = surplus.Close(ctx) // the server ends the session anyway
	}
}

// insist is like query, but repeats it while the server is still recovering
// from an earlier fault.
func (s *servers) insist(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	for start := time.Now(); ; pause(ctx, 100*time.Millisecond) {
		err := s.query(ctx, f)
		if err == nil || ctx.Err() != nil || time.Since(start) > insistBound {
			return err
		}
	}
}

// exec runs statements on the primary, each in its own transaction.
func (s *servers) exec(ctx context.Context, statements ...string) error {
	return s.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// set changes a setting of the primary for all its sessions.
func (s *servers) set(ctx context.Context, assignment string) error {
	return s.exec(ctx, "ALTER SYSTEM "+assignment, "SELECT pg_reload_conf()")
}

// follow starts a standby of the primary. It returns when commits wait for the
// standby.
func (s *servers) follow(ctx context.Context) error {
	standby, err := pgdev.StartStandby(ctx, s.primary, follower)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.standby = standby
	s.mu.Unlock()
	if !s.asynchronous {
		if err := s.set(ctx, "SET synchronous_standby_names = '"+follower+"'"); err != nil {
			return err
		}
	}
	return s.awaitSync(ctx)
}

// awaitSync returns when the standby streams, and is synchronous if commits are
// to wait for it.
func (s *servers) awaitSync(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, syncTimeout, fmt.Errorf("the standby was not synchronous within %s", syncTimeout))
	defer cancel()
	for ctx.Err() == nil {
		var synchronous bool
		err := s.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `
				SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming' AND ($1 OR sync_state = 'sync'))`,
				s.asynchronous).Scan(&synchronous)
		})
		if err == nil && synchronous {
			return nil
		}
		pause(ctx, 50*time.Millisecond)
	}
	return context.Cause(ctx)
}

// failOver kills the primary, promotes the standby and directs all programs to
// it. If silent is set, the primary vanishes without closing the connections of
// its clients.
func (s *servers) failOver(ctx context.Context, silent bool) error {
	if err := s.awaitSync(ctx); err != nil {
		return err
	}
	return s.promote(ctx, silent)
}

// promote is failOver to the standby as it is.
func (s *servers) promote(ctx context.Context, silent bool) error {
	if silent {
		s.each((*pgproxy.Proxy).Silence)
	}
	if err := s.primary.Halt(pgdev.Kill); err != nil {
		return err
	}
	if err := s.standby.Promote(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.primary, s.standby = s.standby, s.primary
	s.mu.Unlock()
	// A failover manager does the same while there is no standby: otherwise
	// commits would wait for one.
	if err := s.set(ctx, "RESET synchronous_standby_names"); err != nil {
		return err
	}
	return s.direct(s.primary)
}

// rebuild replaces the old primary by a standby of the new one.
func (s *servers) rebuild(ctx context.Context) error {
	if err := s.standby.Close(); err != nil {
		return err
	}
	return s.follow(ctx)
}

// direct makes all programs open their new connections to a server.
func (s *servers) direct(server *pgdev.Server) error {
	for _, proxy := range s.proxies {
		if err := proxy.SetTarget(s.url(server, login)); err != nil {
			return err
		}
	}
	return nil
}

func (s *servers) each(do func(*pgproxy.Proxy)) {
	for _, proxy := range s.proxies {
		do(proxy)
	}
}

func (s *servers) close() error {
	s.each((*pgproxy.Proxy).Close)
	if conn := s.take(s.keptOf); conn != nil {
		_ = conn.PgConn().Conn().Close() // the server ends the session
	}
	var errs []error
	for _, server := range []*pgdev.Server{s.standby, s.primary} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(errs...)
}
