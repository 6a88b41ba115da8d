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
	args["after"], args["until"] = [16]byte{}, afterAllKeys()
	return runsPageSQL(f), args
}

// LookUp is the statement before a LeftQuery.
const LookUp = lookUp

// LeftQuery is the query of what a page has left in front of a key or an event.
func LeftQuery(f Filter, jobs Jobs, until [16]byte, last int64) (sql string, args pgx.NamedArgs) {
	_, args = PageQuery(f, jobs, 1)
	args["until"], args["last"] = until, last
	if f.creates() {
		return missingLeftSQL(f), args
	}
	return runsLeftSQL(f), args
}

// DismissLateQuery is the query that dismisses late events from an id on.
func DismissLateQuery(from int64) (sql string, args pgx.NamedArgs) {
	now := time.Now()
	f := Filter{Status: Late, AsOf: &now}
	args = f.args()
	args["after"], args["limit"], args["reason"], args["by"] = from, eachFailurePage, "done", ""
	return dismissLateSQL(f), args
}

// WithLimits returns a Store whose plans have these limits.
func (s *Store) WithLimits(l estimate.Limits) *Store {
	return &Store{store: s.store, pool: s.pool, limits: l}
}

// WithWindows returns a Store whose pages go through so many runs.
func (s *Store) WithWindows(runs int) *Store {
	return &Store{store: s.store, pool: s.pool, limits: s.limits, inWindow: runs}
}
