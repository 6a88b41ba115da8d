package alerts

import (
	"context"
	"fmt"

	"github.com/docker/go-units"
)

// fullShare is the share of the server's connections that may be in use.
const fullShare = 0.9

// Sessions of other roles hide everything but their database.
const connectionsSQL = `
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL)::integer,
       current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true)::integer, 0)`

// connections finds out whether the server is about to refuse connections.
func (x *Examiner) connections(ctx context.Context) (f Finding, err error) {
	var used, limit int
	if err := x.pool.QueryRow(ctx, connectionsSQL).Scan(&used, &limit); err != nil {
		return f, fmt.Errorf("count the server's connections: %w", err)
	}
	f.Reason = fmt.Sprintf("%d of the server's %d connections are in use", used, limit)
	if float64(used) >= fullShare*float64(limit) {
		f.Alerts = []Alert{{
			Key:  Connections,
			Text: f.Reason + ". Set WORKERS or QUEUES lower, run fewer programs, or raise max_connections.",
			Page: "/programs",
		}}
	}
	return f, nil
}

// databaseSize compares the size of the database with its limit. PostgreSQL cannot
// tell how much space its disk has left.
func (x *Examiner) databaseSize(ctx context.Context) (f Finding, err error) {
	var size int64
	if err := x.pool.QueryRow(ctx, `SELECT pg_catalog.pg_database_size(pg_catalog.current_database())`).Scan(&size); err != nil {
		return f, fmt.Errorf("read the size of the database: %w", err)
	}
	f.Reason = fmt.Sprintf("the database has %s", units.BytesSize(float64(size)))
	if x.limits.DatabaseSize == 0 {
		f.Reason += "; ALERT_DATABASE_SIZE is not set"
		return f, nil
	}
	f.Reason += " of " + units.BytesSize(float64(x.limits.DatabaseSize))
	if size >= x.limits.DatabaseSize {
		f.Alerts = []Alert{{
			Key:  DatabaseSize,
			Text: f.Reason + " in ALERT_DATABASE_SIZE. Make room on its disk, or set RETAIN_PAYLOADS or RETAIN_EVENTS lower.",
		}}
	}
	return f, nil
}
