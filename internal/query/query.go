package query

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DB is a pool, a connection or a transaction.
type DB interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ReadCommitted are the options of a transaction in which each statement sees
// what other transactions have committed before it. A role or a database may
// have another level as its default.
//
//nolint:gochecknoglobals // a constant, but Go has no constant structs
var ReadCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// Structs returns all rows. The columns are the fields of T, in their order;
// without rows the slice is empty, not nil. call is what the caller does, such
// as "list conflicts"; an error begins with it.
func Structs[T any](ctx context.Context, db DB, call, sql string, args ...any) ([]T, error) {
	return Rows(ctx, db, call, pgx.RowToStructByPos[T], sql, args...)
}

// Column returns the values of the only column of a result, like [Structs].
func Column[T any](ctx context.Context, db DB, call, sql string, args ...any) ([]T, error) {
	return Rows(ctx, db, call, pgx.RowTo[T], sql, args...)
}

// Rows is like [Structs], and reads each row by scan.
func Rows[T any](ctx context.Context, db DB, call string, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, _ := db.Query(ctx, sql, args...) // reading the rows returns the error
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call, err)
	}
	return list, nil
}

// Struct returns the only row, like [Structs]. The error wraps pgx.ErrNoRows if
// there is no row, and pgx.ErrTooManyRows if there are several.
func Struct[T any](ctx context.Context, db DB, call, sql string, args ...any) (T, error) {
	return Row(ctx, db, call, pgx.RowToStructByPos[T], sql, args...)
}

// Row is like [Struct], and reads the row by scan.
func Row[T any](ctx context.Context, db DB, call string, scan pgx.RowToFunc[T], sql string, args ...any) (T, error) {
	rows, _ := db.Query(ctx, sql, args...) // reading the rows returns the error
	row, err := pgx.CollectExactlyOneRow(rows, scan)
	if err != nil {
		return row, fmt.Errorf("%s: %w", call, err)
	}
	return row, nil
}

// Each scans each row into the same values and then calls do, so no row is
// kept. The first error of do ends it, and is returned like an error of the
// database.
func Each(ctx context.Context, db DB, call string, values []any, do func() error, sql string, args ...any) error {
	rows, _ := db.Query(ctx, sql, args...) // reading the rows returns the error
	if _, err := pgx.ForEachRow(rows, values, do); err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return nil
}

// NotNull returns an empty slice for nil, which pgx would send as NULL.
func NotNull[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
