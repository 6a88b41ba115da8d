// Package history keeps counts of deliveries and attempts by minute and by hour,
// for the pictures of the dashboard.
//
// A [Writer] counts in memory, so nothing waits for the database: not a delivery,
// and not a job. Flush writes the counts every few seconds. If the database is
// down, the counts of the last ten minutes are written later, and older ones are
// lost. A repeated Flush counts nothing twice, even after a commit in doubt.
//
// The tables hold counts and durations only. Their texts are names of configured
// sources, results and reasons of this program, and registered kinds of jobs.
//
//	writer := history.NewWriter(program.ID)
//	writer.Delivery(history.Delivery{Source: "account", Result: "recorded", Verified: true, Took: took})
//	err := writer.Flush(ctx, pool)
//
//	lastWeek := history.NewRange(now.AddDate(0, 0, -7), now)
//	points, err := history.Deliveries(ctx, pool, lastWeek, "")
//	times, err := history.AnswerTimes(ctx, pool, lastWeek, "")
//	p99 := times[0].Times.Quantile(0.99)
//
// Minutes and hours are those of the database's clock, in UTC. A program whose own clock
// is wrong counts by that clock only until its first Flush. Both are kept for 30 days:
// [Tidy] removes older rows. The functions that read take the same time whatever was
// delivered: it grows with the length of the range, and with the number of sources,
// results and kinds.
package history
