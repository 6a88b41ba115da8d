package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// lockSQL locks what every operation reads, for five seconds: then the test goes on,
// even if an operation waits for the lock.
const lockSQL = `SET idle_in_transaction_session_timeout = '5s';
LOCK TABLE lumin.events, lumin.runs, lumin.replays, lumin.redeliveries, lumin.job_types, lumin.river_queue, lumin.delivery_minutes, lumin.delivery_hours, lumin.audit_log`

// No operation waits for the database without a limit. The answer says what to do.
func TestOperationsAreBounded(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	pgtest.UseRoles(t, database)
	r := &rig{TB: t, store: open(t, database), url: serveWithin(t, open(t, pgtest.Login(t, database, migrations.Admin)), 100*time.Millisecond)}
	pgtest.Hold(t, database, lockSQL)
	for _, path := range []string{"/events", "/events/1", "/events/search?state=failed", "/replays", "/conflicts", "/lanes", "/failures?exact=true", "/queues", "/history", "/audit-log", "/status"} {
		a := r.call("read", http.MethodGet, path, "")
		if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, `"code":"timeout"`) || !strings.Contains(a.body, "try again later, or select fewer rows") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if t.Failed() {
			break // the lock has ended
		}
	}
	a := r.call("erase", http.MethodPost, "/erasures/plan", `{"email":"ann@example.com"}`)
	if a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "use the command erase with DATABASE_URL") {
		t.Errorf("plan of an erasure: %d %s", a.status, a.body)
	}
}
