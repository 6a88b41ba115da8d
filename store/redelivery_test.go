package store_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// repeated returns the rows of lumin.redeliveries as text. A row has the
// difference, whether the body is kept, and the count. It ends with the seconds
// between the receipt of the event and the first and last repetition.
func repeated(tb testing.TB, s *store.Store) []string {
	tb.Helper()
	rows, err := s.Pool().Query(tb.Context(), `
		SELECT differs || CASE WHEN d.payload IS NULL THEN '' ELSE ' kept' END || ' x' || d.count || ' '
		       || extract(epoch FROM d.first_at - e.received_at)::int || '-' || extract(epoch FROM d.last_at - e.received_at)::int
		FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id ORDER BY 1`)
	if err != nil {
		tb.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	return list
}

// later is the same delivery received some seconds later.
func later(seconds int, d store.Delivery) store.Delivery {
	d.ReceivedAt = d.ReceivedAt.Add(time.Duration(seconds) * time.Second)
	return d
}

// many returns n deliveries, received one second apart.
func many(of func(int) store.Delivery, n int) (list []store.Delivery) {
	for i := range n {
		list = append(list, later(i+1, of(i+100)))
	}
	return list
}

// repeat returns the rows of n bodies that were received one second apart.
func repeat(line string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s x1 %d-%d", line, i+1, i+1))
	}
	return list
}

// wantReceipts checks the receipts of an event and its redeliveries.
func wantReceipts(tb testing.TB, receipts []store.Receipt, wantConflicts int) {
	tb.Helper()
	conflicts := 0
	for i, r := range receipts {
		want := store.Duplicate
		if i == 0 {
			want = store.Recorded
		}
		if r.Status != want || r.EventID != receipts[0].EventID {
			tb.Errorf("delivery %d: %+v", i, r)
		}
		if r.Conflict {
			conflicts++
		}
	}
	if conflicts != wantConflicts {
		tb.Errorf("%d conflicts, want %d", conflicts, wantConflicts)
	}
}

func TestRedeliveries(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	token := func(n int) store.Delivery {
		return variant(1, fmt.Sprintf("https://example.com/?token=%d", n), "title", "book")
	}
	title := func(n int) store.Delivery {
		return variant(1, "https://example.com/?token=1", fmt.Sprintf("title %d", n), "book")
	}
	for _, c := range []struct {
		name      string
		later     []store.Delivery // after delivery(1)
		want      []string
		conflicts int
	}{
		{"none", nil, nil, 0},
		{"identical", []store.Delivery{later(60, delivery(1)), later(30, delivery(1)), later(90, delivery(1))}, []string{"nothing x3 30-90"}, 0},
		{"fresh token", []store.Delivery{later(5, token(2)), later(7, token(2))}, []string{"details_url kept x2 5-7"}, 0},
		{"changed content", []store.Delivery{later(5, title(2)), later(9, title(2)), later(7, token(3))}, []string{"content kept x2 5-9", "details_url kept x1 7-7"}, 2},
		{"both changed", []store.Delivery{later(1, variant(1, "https://example.com/?token=8", "other"))}, []string{"content kept x1 1-1"}, 1},
		{"ten bodies", many(token, 10), repeat("details_url kept", 10), 0},
		{
			"more bodies than are kept", append(many(token, 13), later(50, token(100)), later(40, delivery(1))),
			slices.Concat([]string{"details_url kept x2 1-50"}, repeat("details_url kept", 10)[1:], []string{"details_url x3 11-13", "nothing x1 40-40"}), 0,
		},
		{
			"a conflict among those not kept", append(many(token, 12), later(20, title(1)), later(21, token(7))),
			append(repeat("details_url kept", 10), "content x4 11-21"), 1,
		},
	} {
		slices.Sort(c.want)
		for mode, together := range map[string]bool{"one by one": false, "in the batch of the first": true} {
			t.Run(c.name+"/"+mode, func(t *testing.T) {
				empty(t, s)
				all := append([]store.Delivery{delivery(1, "book")}, c.later...)
				var receipts []store.Receipt
				if together {
					receipts = recordAll(t, s, all...)
				} else {
					for _, d := range all {
						receipts = append(receipts, recordAll(t, s, d)...)
					}
				}
				wantReceipts(t, receipts, c.conflicts)
				if got := repeated(t, s); !slices.Equal(got, c.want) {
					t.Errorf("redeliveries\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
				}
				wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1, Redeliveries: len(c.later)})
			})
		}
	}
}

// An erased body is not stored again with a redelivery.
func TestRedeliveryOfRemovedPayload(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	recordAll(t, s, delivery(1, "book"))
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	other := variant(1, "https://example.com/?token=2", "other", "book")
	for _, r := range recordAll(t, s, later(3, other), later(4, delivery(1)), later(5, other), later(9, variant(1, "", "third"))) {
		if r.Status != store.Duplicate || r.Conflict {
			t.Errorf("%+v, want a duplicate", r)
		}
	}
	want := []string{"nothing x1 4-4", "unknown x3 3-9"}
	if got := repeated(t, s); !slices.Equal(got, want) {
		t.Errorf("redeliveries %q, want %q", got, want)
	}
	wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1, Redeliveries: 4})
}

// Two transactions must not both store the tenth body.
func TestBodiesKeptAtOnce(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	recordAll(t, s, delivery(1))
	// A recording that has counted the bodies waits here before it stores
	// another.
	tx := begin(t, s)
	exec(t, tx, `LOCK TABLE lumin.redeliveries IN EXCLUSIVE MODE`)
	const writers, each = 4, 8
	var group sync.WaitGroup
	for w := range writers {
		var bodies []store.Delivery
		for i := range each {
			bodies = append(bodies, variant(1, fmt.Sprint(w, i), "title"))
		}
		group.Go(func() {
			if _, err := s.RecordBatch(t.Context(), bodies...); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all wait", func() bool {
		return value[int](t, s.Pool(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == writers
	})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	if kept := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.redeliveries WHERE payload IS NOT NULL`); kept != store.MaxBodies {
		t.Errorf("%d bodies kept, want %d", kept, store.MaxBodies)
	}
	wantTally(t, s, tally{Events: 1, Redeliveries: writers * each})
}

// model is a simple model of the results of recording.
type model struct {
	first    map[string]store.Delivery // by event
	runs     map[string]bool
	repeated map[string]*repetition // by event and body
	kept     map[string]int         // by event
}

type repetition struct {
	differs string
	kept    bool
	count   int
}

func (m *model) record(d store.Delivery) (status store.Status, conflict bool) {
	event := fmt.Sprintf("%x %s", d.Key(), d.Source)
	first, there := m.first[event]
	if !there {
		m.first[event] = d
		for _, job := range d.Jobs {
			m.runs[fmt.Sprintf("%x %s", d.Key(), job.Kind)] = true
		}
		if d.Envelope == nil {
			return store.Unrecognized, false
		}
		return store.Recorded, false
	}
	// A body of the tests shows which part of it is content.
	content := func(d store.Delivery) string {
		before, _, _ := strings.Cut(string(d.Payload), "details_url")
		return before
	}
	differs := "details_url"
	switch {
	case string(first.Payload) == string(d.Payload):
		differs = "nothing"
	case content(first) != content(d):
		differs = "content"
	}
	row := fmt.Sprintf("%s %x", event, sha256.Sum256(d.Payload))
	keep := differs != "nothing"
	if m.repeated[row] == nil && keep {
		if m.kept[event] == store.MaxBodies {
			row, keep = event+" ", false
		} else {
			m.kept[event]++
		}
	}
	if m.repeated[row] == nil {
		m.repeated[row] = &repetition{differs: differs, kept: keep}
	}
	m.repeated[row].count++
	if differs == "content" {
		m.repeated[row].differs = differs
	}
	return store.Duplicate, differs == "content"
}

func (m *model) String() string {
	var lines []string
	for row, r := range m.repeated {
		lines = append(lines, fmt.Sprintf("%s %s %t %d", row, r.differs, r.kept, r.count))
	}
	lines = append(lines, slices.Collect(maps.Keys(m.first))...)
	for run := range m.runs {
		lines = append(lines, run+" run", run+" job")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestRecordLikeModel(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	kinds := map[string][]string{"account": {"shared", "a"}, "app:x": {"b", "shared"}}
	drawn := rapid.Custom(func(rt *rapid.T) store.Delivery {
		n := rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(rt, "event")
		source := rapid.SampledFrom([]string{"account", "app:x"}).Draw(rt, "source")
		d := variant(n, fmt.Sprint("token", rapid.IntRange(0, 3).Draw(rt, "token")), fmt.Sprint("title", rapid.IntRange(0, 3).Draw(rt, "title")), kinds[source]...)
		if n == 3 {
			d.Envelope = nil
		}
		return from(source, d)
	})
	rapid.Check(t, func(rt *rapid.T) {
		empty(t, s)
		m := &model{first: map[string]store.Delivery{}, runs: map[string]bool{}, repeated: map[string]*repetition{}, kept: map[string]int{}}
		for range rapid.IntRange(1, 4).Draw(rt, "batches") {
			// Few events and many bodies, so that some are not kept.
			batch := rapid.SliceOfN(drawn, 1, rapid.SampledFrom([]int{2, 50}).Draw(rt, "most")).Draw(rt, "batch")
			receipts, err := s.RecordBatch(t.Context(), batch...)
			if err != nil {
				rt.Fatal(err)
			}
			for i, d := range batch {
				if status, conflict := m.record(d); receipts[i].Status != status || receipts[i].Conflict != conflict {
					rt.Fatalf("delivery %d of the batch: %+v, want %s, conflict %t", i, receipts[i], status, conflict)
				}
			}
		}
		rows, err := s.Pool().Query(t.Context(), `
			SELECT replace(e.event_key::text, '-', '') || ' ' || e.source || ' ' || encode(d.payload_sha256, 'hex') || ' '
			       || d.differs || CASE WHEN d.payload IS NULL THEN ' false ' ELSE ' true ' END || d.count
			FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id
			UNION ALL SELECT replace(event_key::text, '-', '') || ' ' || source FROM lumin.events
			UNION ALL SELECT replace(event_key::text, '-', '') || ' ' || job_kind || ' run' FROM lumin.runs
			UNION ALL SELECT replace(args ->> 'event_key', '-', '') || ' ' || kind || ' job' FROM lumin.river_job`)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			rt.Fatal(err)
		}
		slices.SortFunc(got, cmp.Compare[string])
		if want := m.String(); strings.Join(got, "\n") != want {
			rt.Fatalf("the database holds\n%s\nwant\n%s", strings.Join(got, "\n"), want)
		}
	})
}
