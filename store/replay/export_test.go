package replay

import (
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/store/internal/estimate"
)

// PageQuery is the query of a page of at most limit runs, from the beginning.
func PageQuery(f Filter, jobs Jobs, limit int) (sql string, args pgx.NamedArgs) {
	now := time.Now()
	f.AsOf = &now
	p := &pager{order: Order{ID: 1, Filter: f}, jobs: jobs, limit: limit}
	args = p.jobArgs()
	if f.creates() {
		args["first"], args["last"] = 1, limit
		return missingPageSQL(f), args
	}
	args["after"] = [16]byte{}
	return runsPageSQL(f), args
}

// WithLimits returns a Store whose plans have these limits.
func (s *Store) WithLimits(l estimate.Limits) *Store {
	return &Store{store: s.store, pool: s.pool, limits: l}
}
