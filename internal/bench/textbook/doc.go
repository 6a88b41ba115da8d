// Package textbook is the reference that the benchmark compares with: a webhook
// receiver as a careful engineer would write it with Echo and River, without
// batching.
//
// Each delivery is one transaction: it inserts the event (ON CONFLICT DO
// NOTHING) and, if the event is new, its River job (InsertTx). Each job is one
// transaction: it reads the event, does its effect and completes the job
// (JobCompleteTx). So it keeps the same two promises: a delivery answered 200 is
// committed together with its job, and the effect happens once.
//
// It does less than the real program: it writes no log, keeps no redeliveries
// and has no limits. Differences in speed are therefore on the careful side.
//
// The environment configures it: DATABASE_URL, LISTEN_ADDR, SECRET, ROLE
// (ingest, worker or all), EFFECT (state or row) and CONNECTIONS. As many
// connections as callers let PostgreSQL flush many commits at once; with a
// distant PostgreSQL, their number limits the rate.
package textbook
