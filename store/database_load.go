package store

import (
	"context"

	"lumin-ingest/internal/query"
)

// DatabaseLoad says how full the server is.
type DatabaseLoad struct {
	Sessions    int64 // of all users and databases of the server
	MaxSessions int64 // that the server gives to ordinary users
	Bytes       int64 // size of this database
}

const databaseLoadSQL = `
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid IS NOT NULL),
       current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
           - coalesce(current_setting('reserved_connections', true)::bigint, 0),
       pg_catalog.pg_database_size(pg_catalog.current_database())`

// DatabaseLoad returns how full the server is. It asks the file system for the size
// of each file of the database.
func (s *Store) DatabaseLoad(ctx context.Context) (DatabaseLoad, error) {
	return query.Struct[DatabaseLoad](ctx, s.pool, "measure the load of the database", databaseLoadSQL)
}
