package history_test

import (
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/history"
	"lumin-ingest/store/internal/storetest"
)

// A clock that is set back into a minute that was written adds to that minute.
func TestClockIsSetBack(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	start := time.Now().UTC().Truncate(time.Hour)
	w, c := newWriter(1, start)
	for _, minute := range []int{0, 1, 2, 1, 0, 1} {
		c.Time = start.Add(time.Duration(minute) * time.Minute)
		deliver(w, 3, "account", "recorded", "")
		w.Attempt(history.Attempt{Kind: "book", Outcome: "succeeded", Worked: time.Second, Effect: -1})
		flush(t, pool, w)
	}
	for sql, want := range map[string]int64{
		`SELECT sum(deliveries) FROM lumin.delivery_minutes`: 18,
		`SELECT sum(deliveries) FROM lumin.delivery_hours`:   18,
		`SELECT sum(times[6]) FROM lumin.delivery_hours`:     18,
		`SELECT max(deliveries) FROM lumin.delivery_minutes`: 9,
		`SELECT sum(attempts) FROM lumin.attempt_hours`:      6,
	} {
		if got := storetest.Value[int64](t, pool, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
}

// A program counts by the database's clock, so that no minute is merged while the
// program still writes it.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	for _, wrong := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		pool := pgtest.Pool(t, pgtest.New(t))
		w := history.NewWriter([16]byte{1})
		w.SetMachine(func() time.Time { return time.Now().Add(wrong) })
		flush(t, pool, w)
		for range 3 {
			deliver(w, 2, "account", "recorded", "")
			flush(t, pool, w)
			if err := history.Tidy(t.Context(), pool); err != nil {
				t.Fatal(err)
			}
		}
		for sql, want := range map[string]int64{
			`SELECT sum(deliveries) FROM lumin.delivery_hours`: 6,
			`SELECT coalesce(sum(deliveries), 0) FROM lumin.delivery_minutes
			 WHERE minute BETWEEN now() - interval '10 minutes' AND now() AND program <> '00000000-0000-0000-0000-000000000000'`: 6,
		} {
			if got := storetest.Value[int64](t, pool, sql); got != want {
				t.Errorf("a clock is wrong by %v: %s: %d, want %d", wrong, sql, got, want)
			}
		}
	}
}
