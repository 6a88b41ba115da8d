// Package store holds the SQL statements on the tables of the schema lumin:
// recording deliveries, claiming and settling runs, and listing them.
//
// Packages in its folder hold the rest. Package replay carries out replay orders
// and dismissals. Package retention removes old events. Package erasure removes
// one person's data. Package archive holds the rows of archived files. The other
// packages read and decide: audit, catalog, conflict, doctor, failures and
// signaturerequest. Package migrations creates the schema.
//
// Use a [Recorder] to receive and a [Store] for everything else:
//
//	st, err := store.New(pool, logger)
//	recorder := store.NewRecorder(st, logger, nil)
//	defer recorder.Close()
//	receipt, err := recorder.Record(ctx, delivery)
//
// What it guarantees:
//
//   - After Record returns nil, the event is committed, with one run and one
//     queued job for each of its job types. After an error, it may or may not be
//     committed. Recording it again is safe: the repetition is recognized.
//   - Only one transaction at a time claims a run. An attempt of a replay that is
//     older than the run's replay neither claims nor settles the run.
//   - A run whose job has failed for good becomes failed, and its errors are kept.
//   - Payloads are returned byte for byte.
package store
