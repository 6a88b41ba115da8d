// Package store holds the SQL statements on the tables of the schema lumin:
// recording deliveries, claiming and settling runs, and listing them. Packages in
// its folder hold the rest: replay carries out replay orders and dismissals,
// retention removes old events, erasure removes one person's data, and archive
// holds the rows of archived files. The other packages read and decide: audit,
// catalog, conflict, doctor, failures and signaturerequest.
// Package migrations makes the schema.
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
//   - After Record returns nil, the event is committed together with one run and
//     one queued job for each job type it is for. After an error it may be or not;
//     recording it again is recognized.
//   - A run is claimed by one transaction at a time, and an attempt that belongs
//     to an earlier replay than the run neither claims nor settles it.
//   - A run whose job has failed for good becomes failed, and its errors are kept.
//   - Payloads come back byte for byte, whatever is in them.
package store
