package worker

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// changes counts the rows that a transaction has changed so far.
type changes struct {
	transaction string // its id; empty if it has changed nothing
	counted     bool   // false if the server does not count
	tables      map[string]TableChanges
}

// changesSQL reads what PostgreSQL counts for its statistics. In versions before
// 15 this can include earlier transactions of the session.
const changesSQL = `
SELECT coalesce(t.id, ''), pg_catalog.current_setting('track_counts')::boolean,
       coalesce(s.schemaname || '.' || s.relname, ''), coalesce(s.n_tup_ins, 0), coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0)
FROM (SELECT pg_catalog.pg_current_xact_id_if_assigned()::text AS id) t
LEFT JOIN pg_catalog.pg_stat_xact_user_tables s ON s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 AND s.schemaname !~ '^pg_temp_'`

// readChanges reads the changes of a transaction.
func readChanges(ctx context.Context, tx pgx.Tx) (changes, error) {
	c := changes{tables: map[string]TableChanges{}}
	var t TableChanges
	err := query.Each(ctx, tx, "count changed rows", []any{&c.transaction, &c.counted, &t.Table, &t.Inserted, &t.Updated, &t.Deleted}, func() error {
		c.tables[t.Table] = t
		return nil
	}, changesSQL)
	return c, err
}

// since returns the changes that an earlier reading did not have, sorted by table;
// nil if the server does not count.
func (c changes) since(before changes) []TableChanges {
	if !c.counted {
		return nil
	}
	made := []TableChanges{}
	for _, name := range slices.Sorted(maps.Keys(c.tables)) {
		t, old := c.tables[name], before.tables[name]
		t.Inserted, t.Updated, t.Deleted = t.Inserted-old.Inserted, t.Updated-old.Updated, t.Deleted-old.Deleted
		if t.Inserted+t.Updated+t.Deleted > 0 {
			made = append(made, t)
		}
	}
	return made
}
