package alerts_test

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/internal/storetest"
)

// counted adds deliveries of a source that one more program has counted, some time
// ago. Without a reason they were verified.
func counted(t *testing.T, pool *pgxpool.Pool, source, reason string, n int, ago string) {
	t.Helper()
	storetest.Exec(t, pool, `
		WITH at AS (SELECT now() - $4::text::interval AS at),
		row AS (SELECT CASE WHEN $2 = '' THEN 'recorded' ELSE 'refused' END AS result, CASE WHEN $2 = '' THEN '{1}'::int[] ELSE '{}' END AS times),
		minutes AS (INSERT INTO lumin.delivery_minutes (minute, source, result, reason, program, deliveries, seconds, times)
			SELECT date_trunc('minute', at), $1, result, $2, gen_random_uuid(), $3, 0, times FROM at, row)
		INSERT INTO lumin.delivery_hours AS h (hour, source, result, reason, deliveries, seconds, times)
		SELECT date_trunc('hour', at, 'UTC'), $1, result, $2, $3, 0, times FROM at, row
		ON CONFLICT (hour, source, result, reason) DO UPDATE SET deliveries = h.deliveries + excluded.deliveries`, source, reason, n, ago)
}

// What all programs have refused counts, since the last delivery that one of them
// has verified.
func TestMismatch(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	const wrong = "signature_mismatch"
	look := func(keys string, parts ...string) {
		t.Helper()
		want(t, pool, alerts.Limits{}, alerts.Mismatch, keys, parts...)
	}
	counted(t, pool, "account", "signature_missing", 50, "10 minutes")
	counted(t, pool, "account", wrong, 9, "10 minutes")
	look("", "no source has had 10 signatures in a row that no key matches")
	counted(t, pool, "account", wrong, 1, "20 hours")
	look("mismatch/account", "source account match no configured key (deliveries refused in a row: 10, the last good one: none in 30 days)", "add the new one")
	counted(t, pool, "account", "", 1, "3 days")
	counted(t, pool, "account", "", 1, "21 hours")
	look("mismatch/account", "in a row: 10, the last good one: 20")
	counted(t, pool, "app:crm", wrong, 100, "2 hours")
	counted(t, pool, "app:crm", "", 1, "1 hour")
	look("mismatch/account")
	counted(t, pool, "account", "", 1, "12 minutes")
	look("")
	counted(t, pool, "account", wrong, 2, "11 minutes")
	counted(t, pool, "account", wrong, 2, "5 minutes")
	look("mismatch/account", "in a row: 13")
	counted(t, pool, "account", "", 1, "0")
	look("")
}

// A restart changes nothing, an alert is over once a delivery was verified, and it is
// dropped once Lumin repeats nothing any more.
func TestEndOfMismatch(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	me := holder(t, pool)
	round := func(message, state string) {
		t.Helper()
		wantRound(t, pool, me, finding(t, pool, alerts.Limits{}, alerts.Mismatch), message, state)
	}
	counted(t, pool, "account", "signature_mismatch", 10, "29 hours")
	round("[mismatch/account] []", "mismatch/account sent")
	later(t, pool, "6 minutes") // a program that has started anew
	round("", "mismatch/account sent")
	counted(t, pool, "account", "", 1, "1 minute")
	round("", "mismatch/account over")
	later(t, pool, "6 minutes")
	round("[] [mismatch/account]", "mismatch/account ended")

	counted(t, pool, "app:crm", "signature_mismatch", 10, "29 hours")
	round("[mismatch/app:crm] []", "mismatch/account ended, mismatch/app:crm sent")
	storetest.Exec(t, pool, `UPDATE lumin.delivery_hours SET hour = hour - interval '4 hours'; UPDATE lumin.delivery_minutes SET minute = minute - interval '4 hours'`)
	round("", "mismatch/account ended, mismatch/app:crm ended")
	storetest.Exec(t, pool, `UPDATE lumin.alerts SET resolved_at = NULL, resolved_sent_at = NULL`)
	storetest.Exec(t, pool, `DELETE FROM lumin.delivery_hours`)
	if f := finding(t, pool, alerts.Limits{}, alerts.Mismatch); !slices.Equal(f.Dropped, []string{"mismatch/account", "mismatch/app:crm"}) {
		t.Errorf("without any history, dropped are %q", f.Dropped)
	}
}
