package replay_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// deliveriesToFilter returns events that differ in what filters choose by.
// Event n is received a second after it happened, n milliseconds after event 0.
func deliveriesToFilter() (all []store.Delivery, unrecognized, second store.Delivery) {
	for n := range 4 {
		all = append(all, storetest.Delivery(n, "book", "mail"))
	}
	all[1].Envelope.EventType = lumin.SignatureRequestApproved
	all[2].Source = "app:crm"
	unrecognized = store.Delivery{
		Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k",
		ReceivedAt: all[0].ReceivedAt.Add(time.Hour), Jobs: storetest.Specs("book"),
	}
	second = storetest.From("app:other", storetest.Delivery(3, "book"))
	second.ReceivedAt = all[0].ReceivedAt.Add(2 * time.Hour)
	return all, unrecognized, second
}

// checkFilter plans and carries out an order, and checks which runs it replays.
// Afterwards all runs have failed again.
func checkFilter(t *testing.T, s *store.Store, f replay.Filter, want string, names map[string]string) {
	t.Helper()
	plan, err := replay.New(s).Plan(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	planned := map[string]int64{}
	for _, p := range plan.JobTypes {
		planned[p.Kind] = p.Runs
		if p.FirstEvent.After(*p.LastEvent) || p.FirstEvent.IsZero() {
			t.Errorf("plan: %+v", p)
		}
	}
	r := storetest.Order(t, s, f)
	if r.Filter.Status != f.Status || len(r.Filter.EventIDs) != len(f.EventIDs) {
		t.Errorf("order %+v, want %+v", r.Filter, f)
	}
	carryOut(t, s, r, 2, "book", "mail")
	var (
		got       []string
		kinds     = map[string]int64{}
		key, kind string
	)
	err = query.Each(t.Context(), s.Pool(), "list pending runs", []any{&key, &kind}, func() error {
		got = append(got, names[key]+kind)
		kinds[kind]++
		return nil
	}, `SELECT encode(uuid_send(event_key), 'hex'), job_kind FROM lumin.runs WHERE state = 'pending'`)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		t.Errorf("replayed %q, want %q", got, want)
	}
	if !maps.Equal(planned, kinds) {
		t.Errorf("planned %v, replayed %v", planned, kinds)
	}
	storetest.FailAll(t, s)
}

func TestReplayFilters(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	all, unrecognized, second := deliveriesToFilter()
	receipts := fail(t, s, append(slices.Clone(all), unrecognized, second)...)

	names := map[string]string{fmt.Sprintf("%x", [16]byte(storetest.Key(unrecognized))): "?"}
	for n, d := range all {
		names[fmt.Sprintf("%x", [16]byte(storetest.Key(d)))] = fmt.Sprint(n)
	}
	at := func(t time.Time) *time.Time { return &t }
	happened := func(n int) *time.Time { return at(all[n].Envelope.EventTime) }
	received := func(n int) *time.Time { return at(all[n].ReceivedAt) }
	for name, c := range map[string]struct {
		filter replay.Filter
		want   string // "0book" is job type book on event 0
	}{
		"failed":                 {replay.Filter{Status: replay.Failed}, "0book 0mail 1book 1mail 2book 2mail 3book 3mail ?book"},
		"kind":                   {replay.Filter{Kinds: []string{"mail"}}, "0mail 1mail 2mail 3mail"},
		"kinds":                  {replay.Filter{Kinds: []string{"mail", "book"}}, "0book 0mail 1book 1mail 2book 2mail 3book 3mail ?book"},
		"kind of nothing":        {replay.Filter{Kinds: []string{"unknown"}}, ""},
		"event type":             {replay.Filter{EventTypes: []string{"signature_request_approved"}}, "1book 1mail"},
		"source":                 {replay.Filter{Sources: []string{"app:crm"}}, "2book 2mail"},
		"source of a copy":       {replay.Filter{Sources: []string{"app:other"}}, "3book 3mail"},
		"received by a copy":     {replay.Filter{ReceivedSince: at(second.ReceivedAt)}, "3book 3mail"},
		"of one copy":            {replay.Filter{Sources: []string{"account"}, ReceivedSince: at(second.ReceivedAt)}, ""},
		"copy and event type":    {replay.Filter{Sources: []string{"app:other"}, EventTypes: []string{"signature_request_signed"}}, "3book 3mail"},
		"signature request":      {replay.Filter{SignatureRequestIDs: []string{"request-0", "request-3"}}, "0book 0mail 3book 3mail"},
		"event id":               {replay.Filter{EventIDs: []int64{receipts[1].EventID}}, "1book 1mail"},
		"event id of the second": {replay.Filter{EventIDs: []int64{receipts[5].EventID}}, "3book 3mail"},
		"received since":         {replay.Filter{ReceivedSince: received(2)}, "2book 2mail 3book 3mail ?book"},
		"received until":         {replay.Filter{ReceivedUntil: received(2)}, "0book 0mail 1book 1mail"},
		"received between":       {replay.Filter{ReceivedSince: received(1), ReceivedUntil: received(3)}, "1book 1mail 2book 2mail"},
		"happened since":         {replay.Filter{EventSince: happened(3)}, "3book 3mail"},
		"happened until":         {replay.Filter{EventUntil: happened(1)}, "0book 0mail"},
		"all together": {replay.Filter{
			Status: replay.Failed, Kinds: []string{"book"}, EventTypes: []string{"signature_request_approved"}, Sources: []string{"account"},
			SignatureRequestIDs: []string{"request-1"}, EventIDs: []int64{receipts[1].EventID}, ReceivedSince: received(1), ReceivedUntil: received(2),
			EventSince: happened(1), EventUntil: happened(2),
		}, "1book"},
		"that exclude each other": {replay.Filter{EventTypes: []string{"signature_request_approved"}, Sources: []string{"app:crm"}}, ""},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share the runs
			checkFilter(t, s, c.filter, c.want, names)
		})
	}
}

func TestReplayValidate(t *testing.T) {
	t.Parallel()
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	for name, c := range map[string]struct {
		order replay.NewOrder
		fine  bool
	}{
		"nothing":                       {order: replay.NewOrder{}},
		"all failed":                    {order: replay.NewOrder{Filter: replay.Filter{Status: "failed"}}, fine: true},
		"all retrying":                  {order: replay.NewOrder{Filter: replay.Filter{Status: "retrying"}}, fine: true},
		"all that succeeded":            {order: replay.NewOrder{Filter: replay.Filter{Status: "succeeded"}}},
		"succeeded of a kind":           {order: replay.NewOrder{Filter: replay.Filter{Status: "succeeded", Kinds: []string{"book"}}}, fine: true},
		"missing of nothing":            {order: replay.NewOrder{Filter: replay.Filter{Status: "missing"}}},
		"late by error":                 {order: replay.NewOrder{Filter: replay.Filter{Status: "late", ErrorFingerprints: []string{"x"}}}},
		"missing by error":              {order: replay.NewOrder{Filter: replay.Filter{Status: "missing", Kinds: []string{"book"}, ErrorFingerprints: []string{"x"}}}},
		"unrecognized of a kind":        {order: replay.NewOrder{Filter: replay.Filter{Status: "unrecognized", Kinds: []string{"book"}}}},
		"unrecognized":                  {order: replay.NewOrder{Filter: replay.Filter{Status: "unrecognized", Sources: []string{"account"}}}, fine: true},
		"an unknown status":             {order: replay.NewOrder{Filter: replay.Filter{Status: "done"}}},
		"a time range that ends first":  {order: replay.NewOrder{Filter: replay.Filter{ReceivedSince: &late, ReceivedUntil: &early}}},
		"a rate below zero":             {order: replay.NewOrder{Filter: replay.Filter{Status: "failed"}, Rate: -1}},
		"a time range that is in order": {order: replay.NewOrder{Filter: replay.Filter{ReceivedSince: &early, ReceivedUntil: &late}}, fine: true},
	} {
		if err := c.order.Validate(); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A replay by error fingerprint replays exactly the runs of that group.
func TestReplayByError(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book"))
	for n, message := range []string{`invoice 4711 of "Ann" is gone`, `invoice 4712 of "Bob" is gone`, `timeout`} {
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now(), errors = ARRAY[jsonb_build_object('error', $2::text)] WHERE args ->> 'event_key' = $1`,
			storetest.Delivery(n+1).Envelope.Key().String(), message)
	}
	fingerprint := storetest.Value[string](t, s.Pool(), `SELECT lumin.error_fingerprint('invoice 1 of "x" is gone')`)
	f := replay.Filter{ErrorFingerprints: []string{fingerprint}}
	if n := planned(t, s, f); n != 2 {
		t.Errorf("planned %d, want 2", n)
	}
	if n := allPages(t, s, storetest.Order(t, s, f), storetest.ReplayJobs("book")); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
}
