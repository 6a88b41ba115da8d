package pgopen

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A server that has vanished sends nothing. This side gives up a connection
// after clientIdle+clientProbes*clientEvery, or within clientUnacked while sent
// data is not acknowledged.
const (
	clientIdle    = 10 * time.Second
	clientEvery   = 5 * time.Second
	clientProbes  = 2
	clientUnacked = 20 * time.Second
)

// pingAfter is the idle time after which a connection is pinged before its next
// use. pgxpool's default is a second. A ping of an idle connection takes a
// tenth of a millisecond. A dead connection costs a delivery its answer.
const pingAfter = 100 * time.Millisecond

// dial connects with keepalives.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: clientIdle, Interval: clientEvery, Count: clientProbes},
		Control:         limitUnacked,
	}
	return dialer.DialContext(ctx, network, address)
}

// answersPing pings an idle connection of the pool, and closes it if it does
// not answer.
func answersPing(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), silence)
	defer cancel()
	return conn.Ping(ctx) == nil
}

// Drop removes all idle connections from a pool. Connections in use are closed
// when they are released. Unlike [pgxpool.Pool.Reset] it makes room for new
// ones at once. Closing connections to a peer that does not answer takes 15 s.
func Drop(pool *pgxpool.Pool) {
	for _, conn := range pool.AcquireAllIdle(context.Background()) {
		Discard(conn)
	}
	pool.Reset()
}

// Discard removes a connection from its pool, which has room for another at
// once, and closes it.
func Discard(conn *pgxpool.Conn) {
	taken := conn.Hijack()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), silence)
		defer cancel()
		_ = taken.Close(ctx) // the connection is given up
	}()
}

// noticeSilence closes the connection if it waits for an answer while its
// session waits for the client: one of the two messages was lost. A pooler with
// process ids of its own hides the session, and then nothing is closed.
func noticeSilence(ctx context.Context, conn *pgx.Conn) error {
	watched, ok := conn.PgConn().Conn().(*watchedConn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	if direct, err := isDirect(ctx, conn); err != nil || !direct {
		return err
	}
	config, pid := conn.Config(), conn.PgConn().PID()
	ask := func(answered <-chan struct{}) bool { return waitsForClient(config, pid, answered) }
	watched.ask.Store(&ask)
	return nil
}

// The session is ended, so that it holds no locks when its work is tried again.
// A session that has received a part of a pipeline is active, and reads from its
// client. The wait of one second is for messages on their way. The process id may
// belong to another session by now, so the role and the name must match.
const waitsForClientSQL = `
SELECT CASE WHEN (state LIKE 'idle%' OR wait_event = 'ClientRead') AND state_change < clock_timestamp() - interval '1 second'
            THEN pg_catalog.pg_terminate_backend(pid)
            ELSE false END
FROM pg_catalog.pg_stat_activity
WHERE pid = $1 AND usename = current_user AND application_name = current_setting('application_name')`

// waitsForClient reports whether a session waits for its client, or is gone.
// Without an answer from the server, it assumes that the session is working.
func waitsForClient(config *pgx.ConnConfig, pid uint32, answered <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	select {
	case <-answered: // the session answered in the meantime
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
