package pgopen

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrPooler is wrapped by the error of [OwnSession] behind a connection pooler.
var ErrPooler = errors.New("a connection pooler is in front of the server")

// OwnSession opens a connection beside a pool, prepared like those of the pool, for
// what a session keeps between transactions, such as a lock. The server cancels a
// statement that takes too long, and ends the session after a time without a
// statement. OwnSession refuses a connection pooler ([ErrPooler]): the session
// could outlive the connection, or belong to several.
func OwnSession(ctx context.Context, pool *pgxpool.Pool, statement, idle time.Duration) (*pgx.Conn, error) {
	like := pool.Config()
	config := like.ConnConfig
	if like.BeforeConnect != nil {
		if err := like.BeforeConnect(ctx, config); err != nil {
			return nil, err
		}
	}
	config.RuntimeParams["statement_timeout"] = strconv.FormatInt(statement.Milliseconds(), 10)
	config.RuntimeParams["idle_session_timeout"] = strconv.FormatInt(idle.Milliseconds(), 10)
	conn, err := pgx.ConnectConfig(ctx, config)
	if refusesParameters(err) {
		return nil, fmt.Errorf("%w: %w", ErrPooler, err)
	}
	if err != nil {
		return nil, err
	}
	direct, err := isDirect(ctx, conn)
	if err == nil && !direct {
		err = ErrPooler
	}
	if err == nil && like.AfterConnect != nil {
		err = like.AfterConnect(ctx, conn)
	}
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// isDirect reports whether the process id that the client was told is that of
// its session. Poolers have process ids of their own.
func isDirect(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var actual uint32
	err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&actual)
	return actual == conn.PgConn().PID(), err
}
