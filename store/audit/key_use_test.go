package audit_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store"
	"lumin-ingest/store/audit"
	"lumin-ingest/store/internal/storetest"
)

func TestKeyUse(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	if uses, err := audit.KeysUsed(t.Context(), s.Pool()); err != nil || len(uses) != 0 {
		t.Errorf("%v, %v", uses, err)
	}
	with := func(d store.Delivery, key string) store.Delivery { d.KeyID = key; return d }
	storetest.Record(t, s, with(storetest.Delivery(1), "b"), with(storetest.Delivery(2), "a"), with(storetest.Delivery(3), "b"), with(storetest.From("app:crm", storetest.Delivery(4)), "b"), with(storetest.Delivery(5), "b"))
	uses, err := audit.KeysUsed(t.Context(), s.Pool())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range uses {
		got = append(got, fmt.Sprint(u.Source, " ", u.KeyID, " ", u.FirstAt.Sub(storetest.Delivery(0).ReceivedAt), " ", u.LastAt.Sub(storetest.Delivery(0).ReceivedAt)))
	}
	if want := "account a 2ms 2ms, account b 1ms 5ms, app:crm b 4ms 4ms"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The cost does not depend on the number of events.
func TestKeyUsePlan(t *testing.T) {
	t.Parallel()
	pool := storetest.New(t).Pool()
	storetest.Fill(t, pool, 1, 20_000)
	storetest.Exec(t, pool, `UPDATE lumin.events SET key_id = 'other' WHERE id % 3 = 0`)
	storetest.Exec(t, pool, `ANALYZE lumin.events`)
	lines, err := query.Column[string](t.Context(), pool, "explain",
		`EXPLAIN (ANALYZE, VERBOSE, TIMING OFF, SUMMARY OFF) `+audit.KeyUseSQL, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	plan := strings.Join(lines, "\n")
	if storetest.ReadsAll.MatchString(plan) {
		t.Errorf("reads all events:\n%s", plan)
	}
	for _, rows := range regexp.MustCompile(`actual rows=(\d+)`).FindAllStringSubmatch(plan, -1) {
		if len(rows[1]) > 1 {
			t.Errorf("reads %s rows:\n%s", rows[1], plan)
		}
	}
}
