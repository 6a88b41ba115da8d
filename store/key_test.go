package store_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

func TestKeyUse(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if uses, err := s.KeyUse(t.Context()); err != nil || len(uses) != 0 {
		t.Errorf("%v, %v", uses, err)
	}
	with := func(d store.Delivery, key string) store.Delivery { d.KeyID = key; return d }
	recordAll(t, s, with(delivery(1), "b"), with(delivery(2), "a"), with(delivery(3), "b"), with(from("app:crm", delivery(4)), "b"), with(delivery(5), "b"))
	uses, err := s.KeyUse(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range uses {
		got = append(got, fmt.Sprint(u.Source, " ", u.KeyID, " ", u.FirstAt.Sub(delivery(0).ReceivedAt), " ", u.LastAt.Sub(delivery(0).ReceivedAt)))
	}
	if want := "account a 2ms 2ms, account b 1ms 5ms, app:crm b 4ms 4ms"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Nothing of it depends on how many events there are.
func TestKeyUsePlan(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.New(t))
	storetest.Fill(t, conn, 1, 20_000)
	exec(t, conn, `UPDATE lumin.events SET key_id = 'other' WHERE id % 3 = 0`)
	exec(t, conn, analyzeSQL)
	plan := explain(t, conn, store.KeyUseSQL)
	if storetest.ReadsAll.MatchString(plan) {
		t.Errorf("reads all events:\n%s", plan)
	}
	for _, rows := range regexp.MustCompile(`actual rows=(\d+)`).FindAllStringSubmatch(plan, -1) {
		if len(rows[1]) > 1 {
			t.Errorf("goes through %s rows:\n%s", rows[1], plan)
		}
	}
}
