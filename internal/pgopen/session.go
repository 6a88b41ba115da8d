package pgopen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A client machine that dies sends nothing. The server ends its sessions after
// serverIdle+serverProbes*serverEvery, half a minute, or within serverUnacked
// while sent data is not acknowledged. That frees their locks.
const (
	serverIdle    = 15 * time.Second
	serverEvery   = 5 * time.Second
	serverProbes  = 3
	serverUnacked = 30 * time.Second

	// defaultIdleInTransaction is for pools whose transactions wait only for
	// the database.
	defaultIdleInTransaction = 30 * time.Second
)

// session returns the settings of each session.
//
// They are sent in the startup packet, which makes them the session's defaults:
// RESET ALL and DISCARD ALL return to them, so a connection that a job type has
// used needs no new setup after a reset. They take precedence over the settings of
// the role, of the database and of the option named options in the URL. PgBouncer
// refuses startup parameters that it does not track. Behind it, SQL sets them after
// connecting, and RESET ALL removes them: see [AfterReset].
func (o Options) session() map[string]string {
	idle := o.IdleInTransaction
	if idle <= 0 {
		idle = defaultIdleInTransaction
	}
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) }
	settings := map[string]string{
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"statement_timeout":                   milliseconds(o.StatementTimeout),
		"lock_timeout":                        milliseconds(o.LockTimeout),
		"idle_in_transaction_session_timeout": milliseconds(idle),
		"idle_session_timeout":                "0", // a pool keeps idle connections
		"tcp_keepalives_idle":                 seconds(serverIdle),
		"tcp_keepalives_interval":             seconds(serverEvery),
		"tcp_keepalives_count":                strconv.Itoa(serverProbes),
		"tcp_user_timeout":                    milliseconds(serverUnacked),
	}
	if o.NoJIT {
		settings["jit"] = "off"
	}
	return settings
}

// pooler remembers whether a connection pooler stands in front of the server.
// In the zero value that is unknown.
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

// detect connects once to detect a pooler, unless the answer is known.
func (p *pooler) detect(ctx context.Context, config *pgx.ConnConfig) error {
	if p.state.Load() != unknown {
		return nil
	}
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	switch {
	case err == nil:
		p.state.Store(direct)
		_ = conn.Close(ctx) // it was only a test
	case refusesParameters(err):
		p.state.Store(behindPooler)
	default:
		return err
	}
	return nil
}

// withoutSession removes the session settings from the startup packet of a
// connection through a pooler.
func withoutSession(config *pgx.ConnConfig, session map[string]string) {
	for name := range session {
		delete(config.RuntimeParams, name)
	}
}

// resetKey is the key in a connection's CustomData of the SQL that sets its
// session.
const resetKey = "lumin-ingest.session"

// setSession sets by SQL what the startup packet could not. Behind a pooler that
// is everything.
func setSession(ctx context.Context, conn *pgx.Conn, session map[string]string, pooled bool) error {
	var sql strings.Builder
	if pooled {
		for _, name := range slices.Sorted(maps.Keys(session)) {
			sql.WriteString("SET " + name + " = '" + session[name] + "'; ")
		}
	}
	if hasTransactionTimeout(conn) {
		sql.WriteString("SET transaction_timeout = 0; ")
	}
	if sql.Len() == 0 {
		return nil
	}
	conn.PgConn().CustomData()[resetKey] = sql.String()
	_, err := conn.Exec(ctx, sql.String())
	return err
}

// hasTransactionTimeout reports whether the server knows transaction_timeout,
// which came with PostgreSQL 17. Older ones refuse a startup packet with it.
func hasTransactionTimeout(conn *pgx.Conn) bool {
	var major int
	_, err := fmt.Sscanf(conn.PgConn().ParameterStatus("server_version"), "%d", &major) // such as 17.10 or 18beta1
	return err == nil && major >= 17
}

// AfterReset is the SQL that restores the settings of a session after RESET
// ALL. It is empty if the startup packet had them all.
func AfterReset(conn *pgx.Conn) string {
	set, _ := conn.PgConn().CustomData()[resetKey].(string)
	return set
}
