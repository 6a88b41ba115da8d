package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// Names of the package that its external tests use.
const (
	RecordSQL             = recordSQL
	LoadEventsSQL         = loadEventsSQL
	LockEventsSQL         = lockEventsSQL
	RecoveredEventsSQL    = recoveredEventsSQL
	RecoveredCountSQL     = recoveredCountSQL
	RecoveryLookSQL       = recoveryLookSQL
	PromotedEventsSQL     = promotedEventsSQL
	LockedEventsSQL       = lockedEventsSQL
	KeptBodiesSQL         = keptBodiesSQL
	UpsertRedeliveriesSQL = upsertRedeliveriesSQL
	ClaimSQL              = claimSQL
	ClaimBatchSQL         = claimBatchSQL
	RunsActSQL            = runsActSQL
	RunActsSQL            = runActsSQL
	ReadRunSQL            = readRunSQL
	SettleSQL             = settleSQL
	NoteAttemptSQL        = noteAttemptSQL
	SweepOrphansSQL       = sweepOrphansSQL
	SweepUnknownSQL       = sweepUnknownSQL
	SweepEndedSQL         = sweepEndedSQL
	OrderedClaimSQL       = orderedClaimSQL
	HeadSQL               = headSQL
	WakeParkedSQL         = wakeParkedSQL
	ParkedPageSQL         = parkedPageSQL
	LostOwnersSQL         = lostOwnersSQL
	GiveBackSQL           = giveBackSQL
	OldestPendingSQL      = oldestPendingSQL
	UnsettledSQL          = unsettledSQL
	SampleUnsettledSQL    = sampleUnsettledSQL
	QueueDepthsSQL        = queueDepthsSQL
	DatabaseLoadSQL       = databaseLoadSQL

	MaxBodies      = maxBodies
	MaxQueued      = maxQueued
	MaxQueuedBytes = maxQueuedBytes
	Flushers       = flushers
	FlushTimeout   = flushTimeout
)

// UnsettledRunsWithin is UnsettledRuns with another limit for an exact count.
func UnsettledRunsWithin(ctx context.Context, s *Store, exact time.Duration) ([]RunCount, error) {
	limits := unsettledLimits()
	limits.Exact = exact
	return s.unsettledRuns(ctx, limits)
}

// ListQuery is the statement of ListEvents with its parameters.
func (f EventFilter) ListQuery() (sql string, args pgx.NamedArgs) { return f.listSQL(), f.listArgs() }

// RecordBatch records deliveries as one batch.
func (s *Store) RecordBatch(ctx context.Context, deliveries ...Delivery) ([]Receipt, error) {
	batch := make([]*pending, len(deliveries))
	for i := range deliveries {
		batch[i] = &pending{delivery: &deliveries[i], key: deliveries[i].key()}
	}
	groups := groupByEvent(batch)
	if err := s.recordNew(ctx, groups, lockTimeout); err != nil {
		return nil, err
	}
	if _, repeated := setReceipts(groups); len(repeated) > 0 {
		if err := s.recordRepeated(ctx, groupByEvent(repeated), lockTimeout); err != nil {
			return nil, err
		}
	}
	receipts := make([]Receipt, len(batch))
	for i, p := range batch {
		receipts[i] = p.receipt
	}
	return receipts, nil
}

// Key is the key of the event that a delivery reports.
func (d *Delivery) Key() [16]byte { return d.key() }

// Waiting is the number of deliveries that no flusher has taken yet.
func (r *Recorder) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.main.waiting) + len(r.side.waiting)
}

// SweepPage is a Sweep that checks a page of the given size.
func (s *Store) SweepPage(ctx context.Context, after time.Time, page int) (settled int, next time.Time, err error) {
	return s.sweep(ctx, after, page)
}

// SweepEndedPage is a SweepEnded that checks one page of the given size of each state.
func (s *Store) SweepEndedPage(ctx context.Context, from EndedPosition, page int) (settled int, next EndedPosition, err error) {
	return s.sweepEnded(ctx, from, page, 0)
}

// MissingRanges is the number of ranges of ids that a tail still waits for.
func (t *Tail) MissingRanges() int {
	n := 0
	for _, m := range t.missing {
		n += len(m.low)
	}
	return n
}

// NewRecorderForDeadlocks returns a Recorder that waits for locks long enough
// for deadlocks to be detected.
func NewRecorderForDeadlocks(s *Store, logger *slog.Logger) *Recorder {
	return newRecorder(s, logger, nil, FlushTimeout)
}

// RecordTogether records deliveries as one batch of a flusher, and returns the
// error of each.
func (r *Recorder) RecordTogether(deliveries ...Delivery) []error {
	batch, answers := make([]*pending, len(deliveries)), make([]chan result, len(deliveries))
	for i := range deliveries {
		answers[i] = make(chan result, 1)
		batch[i] = &pending{delivery: &deliveries[i], key: deliveries[i].key(), result: answers[i]}
	}
	r.flush(batch, &r.main)
	errs := make([]error, len(deliveries))
	for i := range answers {
		errs[i] = (<-answers[i]).err
	}
	return errs
}

// ProbeReady probes the database like a Readiness, without remembering the
// result.
func (s *Store) ProbeReady(ctx context.Context, works bool) error { return s.ready(ctx, works) }

// WaitForLocks lets batches wait for locks for the whole time of a flush. Call
// it before the first delivery.
func (r *Recorder) WaitForLocks() { r.lockTimeout = flushTimeout }

// SweepParkedPage is a SweepParked that checks a page of the given size.
func (s *Store) SweepParkedPage(ctx context.Context, after time.Time, page int) (woken int, next time.Time, err error) {
	return s.sweepParked(ctx, after, page)
}

// Looking is the search with another limit of the rows that a page looks at.
func (f Search) Looking(rows int) Search {
	f.looks = rows
	return f
}

// Query is a statement with its parameters.
type Query struct {
	SQL  string
	Args pgx.NamedArgs
}

// Queries are the statements that find the events of the first page.
func (f Search) Queries() []Query {
	const limit = 50
	if f.ID != "" {
		return []Query{{searchIDSQL, f.idArgs(SearchPosition{})}}
	}
	if list, ok := runListOf(f.State); ok && f.SignatureRequestID == "" {
		args := f.runArgs(SearchPosition{}, limit)
		return []Query{{list.pageSQL(), args}, {list.lastSQL(), args}}
	}
	list := f.list(SearchPosition{}, limit)
	sql, args := f.eventsQuery(list, limit)
	return []Query{{sql, args}, {list.lastSQL(), list.listArgs()}}
}
