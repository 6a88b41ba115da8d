package estimate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/internal/estimate"
	"lumin-ingest/store/internal/storetest"
)

const filled = 20_000

// noTime takes one sample of any table, because no time is left for an exact count.
var noTime = estimate.Limits{Exact: 1, Blocks: 64}

// count reads the number of runs.
func count(ctx context.Context, tx pgx.Tx, percent float64) (int64, error) {
	sql := `SELECT count(*) FROM lumin.runs`
	if percent < 100 {
		return one(ctx, tx, sql+` TABLESAMPLE SYSTEM ($1::float4)`, percent)
	}
	return one(ctx, tx, sql)
}

func TestCount(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	for name, limits := range map[string]estimate.Limits{
		"without limits":         {},
		"of a small table":       {Small: 1 << 30, Exact: 1, Sample: 1, Blocks: 1},
		"that is quick":          {Exact: time.Minute, Sample: 1, Blocks: 1},
		"by the limits of users": estimate.Quick(),
	} {
		if parts, coverage, err := estimate.Count(t.Context(), s.Pool(), limits, "lumin.runs", count); err != nil || !coverage.Exact || len(parts) != 1 || parts[0] != filled {
			t.Errorf("%s: %d of %+v, %v", name, parts, coverage, err)
		}
	}
	parts, coverage, err := estimate.Count(t.Context(), s.Pool(), noTime, "lumin.runs", count)
	if err != nil || coverage.Exact {
		t.Fatalf("%d of %+v, %v", parts, coverage, err)
	}
	wantAbout(t, parts, coverage)
}

// A count that has little time uses no parallel workers.
func TestParallelWorkers(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, 10)
	storetest.Exec(t, s.Pool(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET max_parallel_workers_per_gather = 2', current_database()); END $$`)
	s.Pool().Reset()
	for exact, want := range map[time.Duration]int64{90 * time.Millisecond: 0, time.Minute: 2, 0: 2} {
		limits := estimate.Limits{Exact: exact} // none: all the time
		var workers int64
		for done := false; !done; { // a busy machine may take longer
			var err error
			workers, done, err = estimate.Exactly(t.Context(), s.Pool(), limits, "lumin.runs", func(ctx context.Context, tx pgx.Tx) (int64, error) {
				return one(ctx, tx, `SELECT current_setting('max_parallel_workers_per_gather')::bigint`)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if workers != want {
			t.Errorf("in %s: %d workers, want %d", exact, workers, want)
		}
	}
}

// A sample that takes longer than all of the time is used nevertheless. So there
// is always a result.
func TestSlowSample(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	slow := func(ctx context.Context, tx pgx.Tx, percent float64) (int64, error) {
		if _, err := query.Column[string](ctx, tx, "wait", `SELECT pg_sleep(0.1)::text`); err != nil {
			return 0, err
		}
		return count(ctx, tx, percent)
	}
	for name, exact := range map[string]time.Duration{"before the count": 1, "while it counts": 20 * time.Millisecond} {
		limits := noTime
		limits.Exact = exact
		parts, coverage, err := estimate.Count(t.Context(), s.Pool(), limits, "lumin.runs", slow)
		if err != nil || len(parts) != 1 {
			t.Fatalf("the time ends %s: %d of %+v, %v", name, parts, coverage, err)
		}
		wantAbout(t, parts, coverage)
	}
}

func TestSample(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	n, coverage, err := estimate.Sample(t.Context(), s.Pool(), "lumin.runs", 64, count)
	if err != nil || coverage.Exact || coverage.Fraction >= 0.5 {
		t.Fatalf("%d of %+v, %v", n, coverage, err)
	}
	wantAbout(t, []int64{n}, coverage)
	if n, coverage, err = estimate.Sample(t.Context(), s.Pool(), "lumin.runs", 1000, count); err != nil || !coverage.Exact || n != filled {
		t.Errorf("of a small table: %d of %+v, %v", n, coverage, err)
	}
}

// Other errors than the end of the time end the count.
func TestCountFails(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	broken := errors.New("broken")
	_, _, err := estimate.Count(t.Context(), s.Pool(), noTime, "lumin.runs", func(context.Context, pgx.Tx, float64) (int64, error) { return 0, broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, _, err := estimate.Count(t.Context(), s.Pool(), noTime, "lumin.none", count); err == nil {
		t.Error("counted a table that does not exist")
	}
}

func TestMayMiss(t *testing.T) {
	t.Parallel()
	for c, want := range map[estimate.Coverage]int64{{Exact: true, Fraction: 1}: 0, {Fraction: 1}: 3, {Fraction: 0.5}: 6, {Fraction: 0.001}: 3000} {
		if got := c.MayMiss(); got != want {
			t.Errorf("of %+v: %d, want %d", c, got, want)
		}
	}
}

// wantAbout allows more than five times the standard error of the first sample.
func wantAbout(tb testing.TB, parts []int64, coverage estimate.Coverage) {
	tb.Helper()
	sum := int64(0)
	for _, n := range parts {
		sum += n
	}
	if got := coverage.Scale(sum); got < filled*2/5 || got > filled*8/5 {
		tb.Errorf("estimated %d from %+v of the table, want about %d", got, coverage, filled)
	}
}

func one(ctx context.Context, tx pgx.Tx, sql string, args ...any) (int64, error) {
	all, err := query.Column[int64](ctx, tx, "count", sql, args...)
	if err != nil {
		return 0, err
	}
	return all[0], nil
}
