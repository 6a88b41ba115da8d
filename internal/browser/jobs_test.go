package browser_test

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// bookInvoice fails until it is fixed. Then it waits until it may go on.
type bookInvoice struct {
	worker.Defaults
	fixed *atomic.Bool
	goOn  <-chan struct{}
}

func (bookInvoice) Kind() string { return "book_invoice" }
func (bookInvoice) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}
func (bookInvoice) MaxAttempts() int       { return 1 }
func (bookInvoice) Timeout() time.Duration { return 5 * time.Minute }

func (j bookInvoice) WorkTx(ctx context.Context, _ pgx.Tx, _ *worker.Event) error {
	if !j.fixed.Load() {
		return errors.New("the ledger of 2026 is closed")
	}
	select {
	case <-j.goOn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// note succeeds.
type note struct{ worker.Defaults }

func (note) Kind() string                                        { return "note_event" }
func (note) Events() []lumin.EventType                           { return []lumin.EventType{lumin.AnyEvent} }
func (note) WorkTx(context.Context, pgx.Tx, *worker.Event) error { return nil }

// keepLedger is ordered and fails, so it holds its lanes.
type keepLedger struct{ worker.Defaults }

func (keepLedger) Kind() string { return "keep_ledger" }
func (keepLedger) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestDeclined}
}
func (keepLedger) MaxAttempts() int { return 1 }
func (keepLedger) WorkTx(context.Context, pgx.Tx, *worker.Event) error {
	return errors.New("account 4711 is locked")
}

// callCRM panics, and waits for its next attempt.
type callCRM struct{ worker.Defaults }

func (callCRM) Kind() string { return "call_crm" }
func (callCRM) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestCanceled}
}
func (callCRM) Backoff(int) time.Duration { return time.Hour }
func (callCRM) WorkTx(context.Context, pgx.Tx, *worker.Event) error {
	panic("the answer of the CRM has no customer")
}
