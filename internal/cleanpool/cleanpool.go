package cleanpool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
)

// cleanSQL removes everything that a session keeps after a transaction, except
// prepared statements, of which pgx keeps its own record. RESET ALL comes
// first, so that a leftover statement_timeout cannot stop the rest. It returns
// to the startup parameters.
const cleanSQL = `RESET ALL; RESET SESSION AUTHORIZATION; RESET ROLE; CLOSE ALL; UNLISTEN *; ` +
	`SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES`

// commitCleanSQL cleans in the round trip of the commit. For the smallest
// transaction of three round trips, this costs the server 1.3 times the CPU,
// and the program 1.1 times. Cleaning in a separate round trip costs 1.5 and
// 1.3 times. Measured on PostgreSQL 15 over loopback, in alternating slices of
// 100 transactions.
const commitCleanSQL = `COMMIT; ` + cleanSQL

// cleanTimeout bounds the wait for a connection to be cleaned. One that takes
// longer is closed.
const cleanTimeout = 5 * time.Second

// Marks on a connection, kept in its CustomData.
const (
	isClean          = "lumin.clean"    // nothing has run on it since it was cleaned
	changesPrepared  = "lumin.prepared" // a statement may have changed its prepared statements
	noSuchStatement  = "26000"          // SQLSTATE: the server has no prepared statement of this name
	pgxStatementName = "stmtcache_"     // prefix of the names that pgx gives its own
)

// New makes a pool with the configuration of like and at most maxConns
// connections. It starts without any. A connection is cleaned when it is
// released. If it cannot be cleaned, it is closed.
func New(ctx context.Context, like *pgxpool.Pool, maxConns int) (*pgxpool.Pool, error) {
	cfg := like.Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = int32(maxConns), 0, 0
	tracers := []pgx.QueryTracer{preparedTracer{}}
	if cfg.ConnConfig.Tracer != nil {
		tracers = append(tracers, cfg.ConnConfig.Tracer)
	}
	cfg.ConnConfig.Tracer = multitracer.New(tracers...)
	before := cfg.AfterRelease
	cfg.AfterRelease = func(conn *pgx.Conn) bool {
		return (before == nil || before(conn)) && clean(conn) == nil
	}
	pool, err := pgopen.New(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the job types' connection pool: %w", err)
	}
	return pool, nil
}

// Mark declares that conn needs no cleaning when it is released. No code of
// users may have run on it since it was taken, or since a transaction of
// [CommitCleans] was committed.
func Mark(conn *pgx.Conn) { conn.PgConn().CustomData()[isClean] = true }

// clean restores a session to its state after connecting.
func clean(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTimeout)
	defer cancel()
	marks := conn.PgConn().CustomData()
	if marks[changesPrepared] != nil {
		if err := conn.DeallocateAll(ctx); err != nil {
			return err
		}
	}
	if marks[isClean] == nil {
		if _, err := conn.Exec(ctx, cleanSQL+"; "+pgopen.AfterReset(conn), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		dropNotifications(conn)
	}
	delete(marks, isClean)
	delete(marks, changesPrepared)
	return nil
}

// dropNotifications forgets the notifications that pgx keeps for this
// connection.
func dropNotifications(conn *pgx.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // pgx then returns the notifications that it has, without waiting
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
	}
}

// LostStatements reports whether err means that the server no longer has the
// statements that pgx prepared. The pool does not notice if a stored function
// has deallocated them.
func LostStatements(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == noSuchStatement
}

// preparedTracer marks connections on which a statement may have changed the
// prepared statements. Reading pg_prepared_statements would find more, but
// costs a round trip each time.
type preparedTracer struct{}

func mark(conn *pgx.Conn, sql string) {
	if !strings.HasPrefix(sql, cleanSQL) && changesStatements(sql) {
		conn.PgConn().CustomData()[changesPrepared] = true
	}
}

func markLost(conn *pgx.Conn, err error) {
	if err != nil && LostStatements(err) {
		conn.PgConn().CustomData()[changesPrepared] = true
	}
}

func (preparedTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	mark(conn, data.SQL)
	return ctx
}

func (preparedTracer) TraceQueryEnd(_ context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	markLost(conn, data.Err)
}

func (preparedTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, query := range data.Batch.QueuedQueries {
		mark(conn, query.SQL)
	}
	return ctx
}

func (preparedTracer) TraceBatchQuery(_ context.Context, conn *pgx.Conn, data pgx.TraceBatchQueryData) {
	markLost(conn, data.Err)
}

func (preparedTracer) TraceBatchEnd(_ context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	markLost(conn, data.Err)
}

func (preparedTracer) TracePrepareStart(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	if !strings.HasPrefix(data.Name, pgxStatementName) {
		conn.PgConn().CustomData()[changesPrepared] = true
	}
	return ctx
}

func (preparedTracer) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

// changesStatements reports whether sql has a word that changes the prepared
// statements of its session. It runs for each statement, so it avoids a regular
// expression for speed.
func changesStatements(sql string) bool {
	for i := range len(sql) {
		var words []string
		switch sql[i] | 0x20 {
		case 'p':
			words = []string{"prepare"}
		case 'd':
			words = []string{"deallocate", "discard"}
		default:
			continue
		}
		if i > 0 && isWordByte(sql[i-1]) {
			continue
		}
		for _, word := range words {
			end := i + len(word)
			if end <= len(sql) && strings.EqualFold(sql[i:end], word) && (end == len(sql) || !isWordByte(sql[end])) {
				return true
			}
		}
	}
	return false
}

func isWordByte(b byte) bool {
	return b == '_' || b >= 0x80 || '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z'
}
