// Package estimate counts rows of large tables in bounded time. It counts
// exactly if that is quick, and in a random sample otherwise.
//
// Use it for numbers that a person looks at before deciding. Where something
// depends on a number, count exactly:
//
//	parts, coverage, err := estimate.Count(ctx, pool, estimate.Quick(), "lumin.runs",
//	    func(ctx context.Context, tx pgx.Tx, percent float64) (int64, error) {
//	        sql := `SELECT count(*) FROM lumin.runs`
//	        if percent < 100 {
//	            sql += fmt.Sprintf(` TABLESAMPLE SYSTEM (%f)`, percent)
//	        }
//	        ...
//	    })
//
// A sample takes whole blocks of the table itself. So it needs no statistics and
// no index, and costs nothing when rows change. What it guarantees:
//
//   - A small database is counted exactly, however busy its server is.
//   - The expected value of a scaled number is the exact number.
//   - The first sample is small and has no time limit, so there is always a
//     result. Further samples end in time.
package estimate
