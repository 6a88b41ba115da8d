package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Holder is a session whose transaction has locked events or runs for a long
// time.
type Holder struct {
	PID         int
	Application string  // its application_name
	Role        string  // the role that is connected
	Client      *string // the address of the client; nil for a local socket
	State       string  // such as "idle in transaction"
	Since       time.Time
}

// Only members of pg_read_all_stats can see when transactions of other roles
// began. For any other role, sessions of other roles are excluded.
const holdersSQL = `
SELECT DISTINCT a.pid, a.application_name, coalesce(a.usename::text, ''), host(a.client_addr), coalesce(a.state, ''), a.xact_start
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.mode <> 'AccessShareLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.relation IN ('lumin.runs'::regclass, 'lumin.events'::regclass)
  AND a.xact_start < now() - make_interval(secs => $1) AND a.pid <> pg_catalog.pg_backend_pid()
ORDER BY a.xact_start, a.pid`

// Holders lists the sessions that have locked events or runs for at least this
// long, the longest first. Sessions of running jobs are included.
func Holders(ctx context.Context, pool *pgxpool.Pool, long time.Duration) ([]Holder, error) {
	return query.Structs[Holder](ctx, pool, "find sessions with locked runs", holdersSQL, long.Seconds())
}

// HiddenSessions counts the sessions in this database whose transactions are
// hidden from this role: see holdersSQL.
func HiddenSessions(ctx context.Context, pool *pgxpool.Pool) (n int, err error) {
	err = pool.QueryRow(ctx, `
		SELECT count(*) FROM pg_catalog.pg_stat_activity
		WHERE datname = current_database() AND usename IS NOT NULL AND backend_type IS NULL`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count hidden sessions: %w", err)
	}
	return n, nil
}
