package estimate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Limits bound a count. The zero value counts exactly.
type Limits struct {
	Small  int64         // bytes; a table up to this size is counted exactly
	Exact  time.Duration // an exact count is given up after this time
	Sample time.Duration // samples are taken for this time
	Blocks int64         // in the first sample
}

// Quick returns the limits for commands, which should answer within a second.
func Quick() Limits {
	return Limits{Small: 64 << 20, Exact: 200 * time.Millisecond, Sample: 300 * time.Millisecond, Blocks: 64}
}

// Glance returns the limits for pages, which should answer within 50 ms.
func Glance() Limits {
	return Limits{Small: 8 << 20, Exact: 20 * time.Millisecond, Sample: 10 * time.Millisecond, Blocks: 16}
}

// Coverage says how much of a table was counted.
type Coverage struct {
	Exact    bool    // all of it, once
	Fraction float64 // of all samples together; 1 if exact
}

// MayMiss returns the number of rows of which samples have at least one with a
// probability of 95 %. Fewer rows can be missing from an estimate. It is 0 for an
// exact count.
func (c Coverage) MayMiss() int64 {
	if c.Exact {
		return 0
	}
	return int64(math.Ceil(3 / c.Fraction))
}

// Scale returns the number of rows in the table, from the number in the samples.
func (c Coverage) Scale(n int64) int64 { return int64(math.Round(float64(n) / c.Fraction)) }

// Count calls read once for all rows of a table, with a percentage of 100. If
// that takes too long, it calls read for samples. It returns what read returned.
// read must use the transaction for its queries, which limits their time.
func Count[T any](
	ctx context.Context, pool *pgxpool.Pool, l Limits, table string,
	read func(ctx context.Context, tx pgx.Tx, percent float64) (T, error),
) (parts []T, c Coverage, err error) {
	whole := func(ctx context.Context, tx pgx.Tx) (T, error) { return read(ctx, tx, 100) }
	part, done, err := Exactly(ctx, pool, l, table, whole)
	switch {
	case err != nil:
		return nil, c, err
	case done:
		return []T{part}, Coverage{true, 1}, nil
	}
	blocks, _, err := size(ctx, pool, table)
	if err != nil {
		return nil, c, err
	}
	return samples(ctx, pool, l, blocks, read)
}

// Exactly is like Count without samples. It returns false if read takes too long.
func Exactly[T any](
	ctx context.Context, pool *pgxpool.Pool, l Limits, table string,
	read func(ctx context.Context, tx pgx.Tx) (T, error),
) (result T, done bool, err error) {
	deadline := time.Time{}
	if l != (Limits{}) {
		_, bytes, err := size(ctx, pool, table)
		if err != nil {
			return result, false, err
		}
		if bytes > l.Small {
			deadline = time.Now().Add(l.Exact)
		}
	}
	result, err = within(ctx, pool, deadline, 100, func(ctx context.Context, tx pgx.Tx, _ float64) (T, error) { return read(ctx, tx) })
	if outOfTime(err) && !deadline.IsZero() {
		return result, false, nil
	}
	return result, err == nil, err
}

// Sample calls read once, for a sample of so many blocks. It calls read for all
// rows, with a percentage of 100, if the sample would be most of the table.
func Sample[T any](
	ctx context.Context, pool *pgxpool.Pool, table string, blocks int64,
	read func(ctx context.Context, tx pgx.Tx, percent float64) (T, error),
) (part T, c Coverage, err error) {
	all, _, err := size(ctx, pool, table)
	if err != nil {
		return part, c, err
	}
	c = Coverage{true, 1}
	if all > 2*blocks {
		c = Coverage{false, float64(blocks) / float64(all)}
	}
	part, err = within(ctx, pool, time.Time{}, c.Fraction*100, read)
	return part, c, err
}

// samples reads ever larger samples, as long as the time lasts. It ends with an
// exact count if the table is small enough.
func samples[T any](
	ctx context.Context, pool *pgxpool.Pool, l Limits, blocks int64,
	read func(ctx context.Context, tx pgx.Tx, percent float64) (T, error),
) (parts []T, c Coverage, err error) {
	end, deadline := time.Now().Add(l.Sample), time.Time{} // the first sample has no deadline
	for next := l.Blocks; next >= l.Blocks; deadline = end {
		share, start := min(float64(next)/float64(max(blocks, 1)), 1), time.Now()
		part, err := within(ctx, pool, deadline, share*100, read)
		switch {
		case outOfTime(err) && len(parts) > 0:
			return parts, c, nil
		case err != nil:
			return nil, c, err
		case share == 1:
			return []T{part}, Coverage{true, 1}, nil
		}
		parts, c.Fraction = append(parts, part), c.Fraction+share
		// A sample that would not fit into the rest of the time is made smaller. One
		// fifth of the time is kept in reserve.
		fits := 0.8 * float64(time.Until(end)) / float64(max(time.Since(start), time.Millisecond))
		next = int64(float64(next) * min(2, fits))
	}
	return parts, c, nil
}

// size returns the number of blocks of a table, and the bytes of the larger of it
// and of the events: counting may read the events too.
func size(ctx context.Context, pool *pgxpool.Pool, table string) (blocks, bytes int64, err error) {
	var block, events int64
	err = pool.QueryRow(ctx, `
		SELECT pg_catalog.pg_relation_size($1::text::regclass), pg_catalog.current_setting('block_size')::bigint,
		       pg_catalog.pg_relation_size('lumin.events')`, table).Scan(&bytes, &block, &events)
	if err != nil {
		return 0, 0, fmt.Errorf("look at the size of %s: %w", table, err)
	}
	return bytes / block, max(bytes, events), nil
}

// parallelFrom is the time from which on a query may use parallel workers. To start
// them and to end them takes tens of milliseconds.
const parallelFrom = 100 * time.Millisecond

func within[T any](
	ctx context.Context, pool *pgxpool.Pool, deadline time.Time, percent float64,
	read func(ctx context.Context, tx pgx.Tx, percent float64) (T, error),
) (part T, err error) {
	options := pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, options, func(tx pgx.Tx) (err error) {
		if err := Prepare(ctx, tx); err != nil {
			return err
		}
		if !deadline.IsZero() && time.Until(deadline) < parallelFrom {
			if _, err := tx.Exec(ctx, `SET LOCAL max_parallel_workers_per_gather = 0`); err != nil {
				return err
			}
		}
		if percent < 100 {
			// Rows of a sample are looked up one by one. A join that reads another
			// table whole would take longer.
			if _, err := tx.Exec(ctx, `SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off`); err != nil {
				return err
			}
		}
		part, err = read(ctx, timedTx{tx, deadline}, percent)
		return err
	})
	return part, err
}

// Prepare makes counting in a transaction faster: hash tables of a million ids
// fit into this memory, and compiling takes longer than counting.
func Prepare(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SET LOCAL work_mem = '64MB'; SET LOCAL jit = off`); err != nil {
		return fmt.Errorf("prepare a count: %w", err)
	}
	return nil
}

// timedTx limits each query to the time until the deadline. It has no limit if
// the deadline is zero.
type timedTx struct {
	pgx.Tx
	deadline time.Time
}

// Query implements [pgx.Tx].
func (t timedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if !t.deadline.IsZero() {
		left := time.Until(t.deadline).Milliseconds()
		if left < 1 {
			return failedRows{err: errOutOfTime}, errOutOfTime
		}
		if _, err := t.Exec(ctx, `SET LOCAL statement_timeout = `+strconv.FormatInt(left, 10)); err != nil {
			return failedRows{err: err}, err
		}
	}
	return t.Tx.Query(ctx, sql, args...)
}

// failedRows is a result without rows. Like pgx, Query returns one with an error.
type failedRows struct {
	pgx.Rows
	err error
}

func (r failedRows) Close()     {}
func (r failedRows) Err() error { return r.err }
func (r failedRows) Next() bool { return false }

var errOutOfTime = errors.New("no time is left to count")

func outOfTime(err error) bool {
	var refused *pgconn.PgError
	return errors.Is(err, errOutOfTime) || errors.As(err, &refused) && refused.Code == pgerrcode.QueryCanceled
}
