package migrations_test

import (
	"testing"

	"lumin-ingest/internal/pgtest"
)

// Orders from before the column as_of, and the calls of its functions, stay valid.
func TestOrdersFromBeforeAsOf(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Conn(t, pgtest.AdminURL(t, url))
	order := func() {
		t.Helper()
		pgtest.Exec(t, conn, `INSERT INTO lumin.replays (status) VALUES ('failed')`)
		pgtest.Exec(t, conn, `UPDATE lumin.replays SET state = 'running'`)
		pgtest.Exec(t, conn, `SELECT lumin.replay('failed', '{}', '{}', '{}', '{}', '{}', '{}', NULL, NULL, NULL, NULL, 5, 'why'), lumin.retry_follow_ups('{}', '{}')`)
	}
	for range 2 {
		down(t, url, 1)
		order()
		up(t, url)
		order()
	}
	if got := pgtest.Value[string](t, conn, `SELECT count(*) || ' ' || count(as_of) FROM lumin.replays`); got != "8 0" {
		t.Errorf("orders, and those with as_of: %s", got)
	}
}
