package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Connections compares the connections that running programs take at most with
// those that PostgreSQL gives.
type Connections struct {
	Programs int // programs that were seen within [SeenWithin]
	Needed   int // by these programs; programs too old to record it count as 0

	// Limit is the limit that leaves the fewest connections: that of the server,
	// the database or the role, which LimitOf names. Others is the number of
	// sessions that count against it at this moment and belong to no program.
	Limit   int
	LimitOf string
	Others  int
}

// String describes what the programs take and what PostgreSQL gives.
func (c Connections) String() string {
	return fmt.Sprintf("running programs: %d, which take up to %d connections; others have %d now; the %s allows %d",
		c.Programs, c.Needed, c.Others, c.LimitOf, c.Limit)
}

// Enough reports whether PostgreSQL can give all connections.
func (c Connections) Enough() bool { return c.Needed+c.Others <= c.Limit }

// A superuser may use the reserved connections, and limits of the database and
// the role do not count for it. A session of another role hides its type, but not its
// application_name: others are all sessions with a database, without those of this
// database and application_name, which belong to programs, whatever their logins. If
// programs have several logins, their sum says nothing about the limit of one of them.
const connectionsSQL = `
WITH me AS (
    SELECT r.rolname, r.rolsuper, r.rolconnlimit, d.oid, d.datconnlimit
    FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
    WHERE d.datname = pg_catalog.current_database() AND r.rolname = session_user
), sessions AS (
    SELECT a.datid, a.usename, (a.datid, a.application_name) IS NOT DISTINCT FROM (me.oid, current_setting('application_name')) AS ours
    FROM pg_catalog.pg_stat_activity a, me WHERE a.datid IS NOT NULL
), others AS (
    SELECT datid, usename FROM sessions WHERE NOT ours
), running AS (
    SELECT count(*)::integer AS programs, coalesce(sum(connections), 0)::integer AS needed
    FROM lumin.programs WHERE last_seen >= now() - make_interval(secs => $1)
), limits (value, name, used) AS (
    SELECT current_setting('max_connections')::integer - CASE WHEN rolsuper THEN 0 ELSE
               current_setting('superuser_reserved_connections')::integer + coalesce(current_setting('reserved_connections', true)::integer, 0) END,
           'server', (SELECT count(*)::integer FROM others) FROM me
    UNION ALL
    SELECT datconnlimit, 'database', (SELECT count(*)::integer FROM others WHERE datid = me.oid) FROM me WHERE datconnlimit >= 0 AND NOT rolsuper
    UNION ALL
    SELECT rolconnlimit, 'role', (SELECT count(*)::integer FROM others WHERE usename = me.rolname) FROM me
    WHERE rolconnlimit >= 0 AND NOT rolsuper AND NOT EXISTS (SELECT FROM sessions s WHERE s.ours AND s.usename <> me.rolname)
)
SELECT programs, needed, value, name, used FROM running, limits ORDER BY value - used, name LIMIT 1`

// ExamineConnections reads the needs of the running programs and the limits.
func ExamineConnections(ctx context.Context, pool *pgxpool.Pool) (Connections, error) {
	return query.Struct[Connections](ctx, pool, "examine connections", connectionsSQL, SeenWithin.Seconds())
}
