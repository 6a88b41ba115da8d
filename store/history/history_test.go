package history_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/history"
	"lumin-ingest/store/internal/storetest"
)

// clock is a clock that a test sets.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

// newWriter returns a writer whose clock shows the start of a minute.
func newWriter(id byte, at time.Time) (*history.Writer, *clock) {
	c := &clock{at}
	w := history.NewWriter([16]byte{id})
	w.SetNow(c.now)
	return w, c
}

func flush(t *testing.T, pool *pgxpool.Pool, writers ...*history.Writer) {
	t.Helper()
	for _, w := range writers {
		if err := w.Flush(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
	}
}

// deliver counts n deliveries that took 40 ms.
func deliver(w *history.Writer, n int, source, result, reason string) {
	for range n {
		w.Delivery(history.Delivery{Source: source, Result: result, Reason: reason, Verified: reason == "", Took: 40 * time.Millisecond})
	}
}

func sum(points []history.DeliveryPoint) (n int64) {
	for _, p := range points {
		n += p.Deliveries
	}
	return n
}

// Two programs count in the same minute, flush repeatedly, and one of the flushes
// is repeated as after a commit in doubt. Minutes and hours agree.
func TestFlush(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	start := time.Now().UTC().Truncate(time.Hour).Add(20 * time.Minute)
	one, _ := newWriter(1, start)
	two, clockOfTwo := newWriter(2, start)
	deliver(one, 3, "account", "recorded", "")
	deliver(two, 2, "account", "recorded", "")
	deliver(two, 4, "unknown", "refused", "unknown_source")
	flush(t, pool, one, two, one)
	deliver(one, 5, "account", "recorded", "")
	flush(t, pool, one, one)
	clockOfTwo.Time = start.Add(time.Minute)
	deliver(two, 1, "app:demo", "recorded", "")
	flush(t, pool, two)

	for _, step := range []time.Duration{time.Minute, time.Hour} {
		r := history.Range{From: start.Truncate(time.Hour), To: start.Truncate(time.Hour).Add(time.Hour), Step: step}
		all, err := history.Deliveries(t.Context(), pool, r, "")
		if err != nil {
			t.Fatal(err)
		}
		account, err := history.Deliveries(t.Context(), pool, r, "account")
		if err != nil {
			t.Fatal(err)
		}
		if sum(all) != 15 || sum(account) != 10 || len(account) != 1 || account[0].Result != "recorded" {
			t.Errorf("step %v: all %v, account %v", step, all, account)
		}
		times, err := history.AnswerTimes(t.Context(), pool, r, "account")
		if err != nil {
			t.Fatal(err)
		}
		if len(times) != 1 || times[0].Times.Count() != 10 || times[0].Times.Mean() != 40*time.Millisecond {
			t.Errorf("step %v: times %+v", step, times)
		}
		totals, err := history.DeliveryTotals(t.Context(), pool, r)
		if err != nil {
			t.Fatal(err)
		}
		want := []history.DeliveryTotal{{"account", "recorded", "", 10}, {"unknown", "refused", "unknown_source", 4}, {"app:demo", "recorded", "", 1}}
		if len(totals) != 3 || totals[0] != want[0] || totals[1] != want[1] || totals[2] != want[2] {
			t.Errorf("step %v: totals %v", step, totals)
		}
	}
	clockOfTwo.Time = start.Add(history.KeptFor + time.Minute)
	deliver(two, 1, "account", "recorded", "")
	flush(t, pool, two)
	if one.Rows() != 1 || two.Rows() != 2 {
		t.Errorf("%d and %d rows are in memory, want those of ten minutes", one.Rows(), two.Rows())
	}
}

// A commit in doubt: the server has the rows, and the program does not know.
func TestFlushRepeatedCountsOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	start := time.Now().UTC().Truncate(time.Hour)
	first, _ := newWriter(1, start)
	again, _ := newWriter(1, start) // has the same counts as first
	for _, w := range []*history.Writer{first, again} {
		deliver(w, 3, "account", "recorded", "")
		w.Attempt(history.Attempt{Kind: "book", Outcome: "succeeded", Worked: time.Second, Effect: 2 * time.Second})
	}
	flush(t, pool, first, again)
	for sql, want := range map[string]int64{
		`SELECT sum(deliveries) FROM lumin.delivery_minutes`:      3,
		`SELECT sum(deliveries) FROM lumin.delivery_hours`:        3,
		`SELECT sum(times[6]) FROM lumin.delivery_hours`:          3,
		`SELECT sum(attempts) FROM lumin.attempt_hours`:           1,
		`SELECT sum(effect_times[11]) FROM lumin.attempt_hours`:   1,
		`SELECT sum(work_seconds)::int8 FROM lumin.attempt_hours`: 1,
	} {
		if got := storetest.Value[int64](t, pool, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

// While the database is down, counts stay in memory for ten minutes at most.
func TestFlushWithoutDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	proxy := pgtest.Proxy(t, url)
	broken := pgtest.Pool(t, proxy.URL())
	proxy.Close()
	start := time.Now().UTC().Truncate(time.Hour)
	w, c := newWriter(1, start)
	for minute := range 60 {
		c.Time = start.Add(time.Duration(minute) * time.Minute)
		deliver(w, 1, "account", "recorded", "")
		if err := w.Flush(t.Context(), broken); err == nil {
			t.Fatal("a flush without a database succeeded")
		}
	}
	if rows, most := w.Rows(), int(history.KeptFor/time.Minute)+1; rows != most {
		t.Errorf("%d rows are in memory, want %d", rows, most)
	}
	pool := pgtest.Pool(t, url)
	flush(t, pool, w)
	if got := storetest.Value[int64](t, pool, `SELECT sum(deliveries) FROM lumin.delivery_hours`); got != 11 {
		t.Errorf("%d deliveries were written afterwards, want 11", got)
	}
}

func TestAttempts(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	start := time.Now().UTC().Truncate(time.Hour)
	w, _ := newWriter(1, start)
	w.Attempt(history.Attempt{Kind: "book", Outcome: "succeeded", Worked: 20 * time.Millisecond, Effect: 2 * time.Minute})
	w.Attempt(history.Attempt{Kind: "book", Outcome: "retried", Worked: time.Second, Effect: -1})
	w.Attempt(history.Attempt{Kind: "mail", Outcome: "succeeded", Worked: -1, Effect: -1})
	flush(t, pool, w)
	r := history.NewRange(start, start)
	points, err := history.Attempts(t.Context(), pool, r, "book")
	if err != nil {
		t.Fatal(err)
	}
	if len(points) != 2 || points[0] != (history.AttemptPoint{At: points[0].At, Kind: "book", Outcome: "retried", Attempts: 1}) || r.Index(points[0].At) != 0 {
		t.Errorf("points %v", points)
	}
	effects, err := history.EffectTimes(t.Context(), pool, r, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(effects) != 1 || effects[0].Times.Count() != 1 || effects[0].Times.Mean() != 2*time.Minute {
		t.Errorf("effects %+v", effects)
	}
	work, err := history.WorkTimes(t.Context(), pool, r, "book")
	if err != nil {
		t.Fatal(err)
	}
	if len(work) != 1 || work[0].Times.Count() != 2 {
		t.Errorf("work %+v", work)
	}
	totals, err := history.AttemptTotals(t.Context(), pool, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(totals) != 3 || totals[1].Effect.Count() != 1 || totals[1].Work.Mean() != 20*time.Millisecond || totals[2].Work.Count() != 0 {
		t.Errorf("totals %+v", totals)
	}
}

// The backlog of a minute is its highest age.
func TestBacklog(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	r := history.NewRange(time.Now().Add(-time.Hour), time.Now().Add(time.Minute))
	note := func() float64 {
		if err := history.NoteBacklog(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		points, err := history.Backlog(t.Context(), pool, r)
		if err != nil || len(points) == 0 {
			t.Fatalf("points %v, %v", points, err)
		}
		highest := 0.0
		for _, p := range points { // a minute may have ended meanwhile
			highest = max(highest, p.Seconds)
		}
		return highest
	}
	if got := note(); got != 0 {
		t.Errorf("the age is %v s without a run", got)
	}
	storetest.Fill(t, pool, 1, 100)
	if got := note(); got < 3600 || got > 3700 {
		t.Errorf("the age is %v s, want an hour", got)
	}
	storetest.Exec(t, pool, `UPDATE lumin.runs SET state = 'succeeded', finished_at = now()`)
	if got := note(); got < 3600 {
		t.Errorf("the age of the minute fell to %v s", got)
	}
}

// Many programs that lived briefly leave one row for each minute, and nothing is
// left after 30 days.
func TestTidy(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	const programs, minutes = 50, 60
	old := time.Now().UTC().Add(-history.MergeAfter - 3*time.Hour).Truncate(time.Hour)
	for id := range programs {
		w, c := newWriter(byte(id+1), old)
		for minute := range minutes {
			c.Time = old.Add(time.Duration(minute) * time.Minute)
			deliver(w, 1, "account", "recorded", "")
			w.Attempt(history.Attempt{Kind: "book", Outcome: "succeeded", Worked: time.Second, Effect: time.Second})
			flush(t, pool, w)
		}
	}
	recent, _ := newWriter(1, time.Now())
	deliver(recent, 1, "account", "recorded", "")
	flush(t, pool, recent)
	tidy := func() {
		if err := history.Tidy(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
	}
	tidy()
	const mergedSQL = `SELECT count(*) FROM lumin.delivery_minutes WHERE program = '00000000-0000-0000-0000-000000000000'`
	for sql, want := range map[string]int64{
		mergedSQL: minutes,
		`SELECT count(*) FROM lumin.delivery_minutes`:                       minutes + 1,
		`SELECT sum(deliveries) FROM lumin.delivery_minutes`:                programs*minutes + 1,
		`SELECT sum(times[6]) FROM lumin.delivery_minutes`:                  programs*minutes + 1,
		`SELECT sum(deliveries) FROM lumin.delivery_hours`:                  programs*minutes + 1,
		`SELECT count(*) FROM lumin.attempt_minutes`:                        minutes,
		`SELECT sum(effect_times[10]) FROM lumin.attempt_minutes`:           programs * minutes,
		`SELECT sum(effect_seconds)::int8 FROM lumin.attempt_minutes`:       programs * minutes,
		`SELECT sum(attempts) FROM lumin.attempt_hours WHERE kind = 'book'`: programs * minutes,
	} {
		if got := storetest.Value[int64](t, pool, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	storetest.Exec(t, pool, `
		UPDATE lumin.delivery_minutes SET minute = minute - interval '30 days'; UPDATE lumin.delivery_hours SET hour = hour - interval '30 days';
		UPDATE lumin.attempt_minutes SET minute = minute - interval '30 days'; UPDATE lumin.attempt_hours SET hour = hour - interval '30 days'`)
	tidy()
	const leftSQL = `SELECT count(*) FROM (SELECT minute FROM lumin.delivery_minutes UNION ALL SELECT minute FROM lumin.attempt_minutes
		UNION ALL SELECT hour FROM lumin.delivery_hours UNION ALL SELECT hour FROM lumin.attempt_hours) t WHERE minute < now() - interval '30 days'`
	if got := storetest.Value[int64](t, pool, leftSQL); got != 0 {
		t.Errorf("%d rows are older than 30 days", got)
	}
}

// To count a delivery or an attempt costs no allocation.
func BenchmarkDelivery(b *testing.B) {
	w := history.NewWriter([16]byte{1})
	d := history.Delivery{Source: "account", Result: "recorded", Verified: true, Took: 3 * time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		w.Delivery(d)
	}
}

func BenchmarkDeliveryInParallel(b *testing.B) {
	w := history.NewWriter([16]byte{1})
	d := history.Delivery{Source: "account", Result: "recorded", Verified: true, Took: 3 * time.Millisecond}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w.Delivery(d)
		}
	})
}

func TestLastHour(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if r := history.LastHour(now); r.Steps() != 60 || r.Index(now) != 59 || r.Step != time.Minute {
		t.Errorf("%+v", r)
	}
	if n := history.Unrecognized([]history.DeliveryPoint{{Result: "unrecognized", Deliveries: 2}, {Result: "recorded", Deliveries: 4}, {Result: "unrecognized", Deliveries: 1}}); n != 3 {
		t.Errorf("%d unrecognized deliveries", n)
	}
}

func TestRange(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for length, want := range map[time.Duration]struct {
		step  time.Duration
		steps int
	}{
		time.Hour:           {time.Minute, 61},
		24 * time.Hour:      {time.Hour, 25},
		7 * 24 * time.Hour:  {time.Hour, 169},
		30 * 24 * time.Hour: {24 * time.Hour, 31},
	} {
		r := history.NewRange(now.Add(-length), now)
		if r.Step != want.step || r.Steps() != want.steps || r.Index(now) != want.steps-1 || r.Index(now.Add(-length)) != 0 || !r.Start(0).Equal(r.From) {
			t.Errorf("%v: %+v with %d steps", length, r, r.Steps())
		}
	}
	pool := pgtest.Pool(t, pgtest.New(t))
	for _, r := range []history.Range{
		{}, {From: now, To: now.Add(time.Hour), Step: time.Hour}, {From: now.Truncate(time.Hour), To: now.Truncate(time.Hour), Step: time.Hour},
		{From: time.Unix(0, 0), To: now.Truncate(time.Minute), Step: time.Minute}, {From: now.Truncate(time.Hour), To: now.Truncate(time.Hour).Add(3 * time.Hour), Step: 90 * time.Minute},
	} {
		if _, err := history.Deliveries(t.Context(), pool, r, ""); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}
