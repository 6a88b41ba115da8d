package pgopen

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A machine that dies says nothing. The server gives its sessions up after
// serverIdle+serverProbes*serverEvery, half a minute, and within serverUnacked
// when it waits for data to be taken. Their locks are free then.
const (
	serverIdle    = 15 * time.Second
	serverEvery   = 5 * time.Second
	serverProbes  = 3
	serverUnacked = 30 * time.Second

	// defaultIdleInTransaction is for pools whose transactions wait for nothing but
	// the database.
	defaultIdleInTransaction = 30 * time.Second
)

// session is what each session is set to.
//
// The settings travel in the startup packet. They are the session's defaults
// then, so RESET ALL and DISCARD ALL return to them: a connection that was used
// by a job type can be reset without being set up again. PgBouncer refuses
// startup parameters that it does not track. Behind it they are set by SQL after
// connecting, and RESET ALL loses them: see [AfterReset].
func (o Options) session() map[string]string {
	idle := o.IdleInTransaction
	if idle <= 0 {
		idle = defaultIdleInTransaction
	}
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
	return map[string]string{
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"idle_in_transaction_session_timeout": milliseconds(idle),
		"tcp_keepalives_idle":                 seconds(serverIdle),
		"tcp_keepalives_interval":             seconds(serverEvery),
		"tcp_keepalives_count":                strconv.Itoa(serverProbes),
		"tcp_user_timeout":                    milliseconds(serverUnacked),
	}
}

// pooler remembers whether a connection pooler answers in the place of the
// server. The zero value does not know.
type pooler struct{ state atomic.Int32 }

const (
	unknown int32 = iota
	direct
	behindPooler
)

// refusesParameters reports PgBouncer's answer to startup parameters that it
// does not know: protocol_violation.
func refusesParameters(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == "08P01" && strings.Contains(refused.Message, "startup parameter")
}

// find learns what answers by connecting once, unless it is known.
func (p *pooler) find(ctx context.Context, config *pgx.ConnConfig) error {
	if p.state.Load() != unknown {
		return nil
	}
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	switch {
	case err == nil:
		p.state.Store(direct)
		_ = conn.Close(ctx) // it has served its purpose
	case refusesParameters(err):
		p.state.Store(behindPooler)
	default:
		return err
	}
	return nil
}

// withoutSession takes the settings out of the startup packet of a connection
// that a pooler answers.
func withoutSession(config *pgx.ConnConfig, session map[string]string) {
	for name := range session {
		delete(config.RuntimeParams, name)
	}
}

// resetKey is where a connection keeps the SQL that sets its session.
const resetKey = "lumin-ingest.session"

// setSession sets by SQL what a pooler keeps from the startup packet.
func setSession(ctx context.Context, conn *pgx.Conn, session map[string]string) error {
	var sql strings.Builder
	for _, name := range slices.Sorted(maps.Keys(session)) {
		sql.WriteString("SET " + name + " = '" + session[name] + "'; ")
	}
	conn.PgConn().CustomData()[resetKey] = sql.String()
	_, err := conn.Exec(ctx, sql.String())
	return err
}

// AfterReset is the SQL that has to follow RESET ALL, for a session to have the
// settings again that it was opened with. It is empty unless a pooler is between.
func AfterReset(conn *pgx.Conn) string {
	set, _ := conn.PgConn().CustomData()[resetKey].(string)
	return set
}
