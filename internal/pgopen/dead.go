package pgopen

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A server that is gone says nothing either. This side gives a connection up
// after clientIdle+clientProbes*clientEvery, and within clientUnacked when it
// waits for data to be taken.
const (
	clientIdle    = 10 * time.Second
	clientEvery   = 5 * time.Second
	clientProbes  = 2
	clientUnacked = 20 * time.Second
)

// pingAfter is for how long a connection may have been idle without being asked
// before it is used: pgxpool's own.
const pingAfter = time.Second

// dial connects with keepalives, and has the connection watched.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: clientIdle, Interval: clientEvery, Count: clientProbes},
		Control:         limitUnacked,
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn}, nil
}

// answersPing asks a connection from the pool whether it still is one. The
// connection is closed if it is not.
func answersPing(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
	defer cancel()
	return conn.Ping(ctx) == nil
}

// Drop takes all idle connections out of a pool, and has those in use closed
// when they are released. Unlike [pgxpool.Pool.Reset] it makes room for new ones
// at once, although the old ones may take 15 s to close: to end a connection
// politely needs a peer that answers.
func Drop(pool *pgxpool.Pool) {
	for _, conn := range pool.AcquireAllIdle(context.Background()) {
		Discard(conn)
	}
	pool.Reset()
}

// Discard takes a connection out of its pool, which has room for another at
// once, and closes it.
func Discard(conn *pgxpool.Conn) {
	taken := conn.Hijack()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), silence)
		defer cancel()
		_ = taken.Close(ctx) // nothing more is expected of it
	}()
}

// watchedConn notices that a session does not answer. A slow server must not be
// taken for a dead one: whether the session works is asked over a connection of
// its own.
type watchedConn struct {
	net.Conn
	ask atomic.Pointer[askFunc] // nil: not watched
}

// askFunc asks about the session until answered is closed, and reports whether
// to give it up.
type askFunc = func(answered <-chan struct{}) bool

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	ask := c.ask.Load()
	if ask == nil {
		return c.Conn.Read(b)
	}
	answered := make(chan struct{})
	timer := time.AfterFunc(silence, func() { c.watch(*ask, answered) })
	n, err := c.Conn.Read(b)
	timer.Stop()
	close(answered)
	return n, err
}

func (c *watchedConn) watch(ask askFunc, answered <-chan struct{}) {
	for {
		if ask(answered) {
			_ = c.Close()
			return
		}
		select {
		case <-answered:
			return
		case <-time.After(silence):
		}
	}
}

// noticeSilence has a connection closed that waits for an answer of a session
// that waits for its client: one of the two messages was lost. Where a pooler
// answers under a process id of its own, no session can be asked about.
func noticeSilence(ctx context.Context, conn *pgx.Conn) error {
	watched := find(conn.PgConn().Conn())
	if watched == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	config, pid := conn.Config(), conn.PgConn().PID()
	var actual uint32
	err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&actual)
	if err != nil || actual != pid {
		return err
	}
	ask := func(answered <-chan struct{}) bool { return waitsForClient(config, pid, answered) }
	watched.ask.Store(&ask)
	return nil
}

// find looks for the watched connection below TLS.
func find(conn net.Conn) *watchedConn {
	for {
		if watched, ok := conn.(*watchedConn); ok {
			return watched
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = wrapper.NetConn()
	}
}

// The session is ended, so that it holds no locks when its work is tried again.
// An answer that is under way gets a second. Only sessions with the same role
// and name are touched: the number may belong to another by now.
const waitsForClientSQL = `
SELECT CASE WHEN state LIKE 'idle%' AND state_change < clock_timestamp() - interval '1 second'
            THEN pg_catalog.pg_terminate_backend(pid)
            ELSE false END
FROM pg_catalog.pg_stat_activity
WHERE pid = $1 AND usename = current_user AND application_name = current_setting('application_name')`

// waitsForClient reports whether a session waits for its client, or is gone. It
// is taken to work while no answer can be had.
func waitsForClient(config *pgx.ConnConfig, pid uint32, answered <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	select {
	case <-answered: // while we connected
		return false
	default:
	}
	// The settings of the role or the URL may have chosen another role.
	if _, err := conn.Exec(ctx, `SET ROLE NONE`); err != nil {
		return false
	}
	rows, err := conn.Query(ctx, waitsForClientSQL, pid)
	if err != nil {
		return false
	}
	ended, err := pgx.CollectRows(rows, pgx.RowTo[bool])
	return err == nil && (len(ended) == 0 || ended[0])
}
