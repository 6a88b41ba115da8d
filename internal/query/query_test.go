package query_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/query"
)

// An error begins with the words of the call, once, wherever it occurs.
// Afterwards the only connection is free again.
func TestErrorsAreWrappedOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.NewEmpty(t)+"&pool_max_conns=1")
	type pair struct{ A, B int }
	refused := errors.New("refused by do")
	for name, call := range map[string]func(sql string) error{
		"Structs": func(sql string) error { _, err := query.Structs[pair](t.Context(), pool, "count", sql); return err },
		"Struct":  func(sql string) error { _, err := query.Struct[pair](t.Context(), pool, "count", sql); return err },
		"Column":  func(sql string) error { _, err := query.Column[int](t.Context(), pool, "count", sql); return err },
		"Each": func(sql string) error {
			var n int
			return query.Each(t.Context(), pool, "count", []any{&n}, func() error { return refused }, sql)
		},
	} {
		for what, sql := range map[string]string{
			"statement": `SELECT nothing`,
			"row":       `SELECT 'text' UNION ALL SELECT 'other'`,
			"later row": `SELECT 1 / (2 - n), 1 FROM generate_series(1, 2) n`,
		} {
			err := call(sql)
			if err == nil || strings.Count(err.Error(), "count: ") != 1 || !strings.HasPrefix(err.Error(), "count: ") {
				t.Errorf("%s, error of the %s: %v", name, what, err)
			}
		}
	}
	var n int
	err := query.Each(t.Context(), pool, "count", []any{&n}, func() error { return refused }, `SELECT 1`)
	if !errors.Is(err, refused) {
		t.Errorf("Each returned %v, want the error of do", err)
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.NewEmpty(t))
	names, err := query.Column[string](t.Context(), pool, "list", `SELECT 'x' WHERE $1`, false)
	if err != nil || names == nil || len(names) != 0 {
		t.Errorf("no rows give %#v, %v, want an empty slice", names, err)
	}
	type pair struct {
		A int
		B string
	}
	pairs, err := query.Structs[pair](t.Context(), pool, "list", `SELECT n, 'x' FROM generate_series(1, $1::int) n`, 2)
	if err != nil || len(pairs) != 2 || pairs[1] != (pair{2, "x"}) {
		t.Errorf("two rows give %v, %v", pairs, err)
	}
	if _, err := query.Struct[pair](t.Context(), pool, "load", `SELECT 1, 'x' WHERE false`); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("no row gives %v, want pgx.ErrNoRows", err)
	}
	if _, err := query.Struct[pair](t.Context(), pool, "load", `SELECT n, 'x' FROM generate_series(1, 2) n`); !errors.Is(err, pgx.ErrTooManyRows) {
		t.Errorf("two rows give %v, want pgx.ErrTooManyRows", err)
	}
	if got := query.NotNull[int64](nil); got == nil {
		t.Error("NotNull returned nil")
	}
}
