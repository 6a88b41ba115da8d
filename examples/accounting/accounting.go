// Package accounting is an example of a transactional job type. It makes an
// accounting entry for every contract that all signers have signed, exactly
// once per event.
//
//	registry.AddTx(accounting.Entry{})
//
// The fee comes from the table accounting.fees. The title starts with the
// product, as in "[LEASE] Berth 12". [Schema] creates the tables.
package accounting

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// Schema is the SQL that creates the tables.
//
//go:embed schema.sql
var Schema string

// Entry is the job type.
type Entry struct {
	worker.Defaults
}

// Kind returns the name of the job type. Never change it: it is stored with
// every run.
func (Entry) Kind() string { return "accounting_entry" }

// Events returns the event types that the job type handles.
func (Entry) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

// Amounts are computed in PostgreSQL, whose numeric type is exact. No float64
// ever holds an amount. The booking day is the day of the event, not of the
// attempt.
const entrySQL = `
INSERT INTO accounting.entries (event_key, signature_request_id, product, net, tax, currency, booked_on)
SELECT $1, $2, f.product, f.net, round(f.net * f.tax_rate, 2), f.currency, ($4::timestamptz AT TIME ZONE 'UTC')::date
FROM accounting.fees f WHERE f.product = $3`

// WorkTx books one contract. A contract without a product is not billed, so its
// run is cancelled. A product without a fee fails the run, which can be
// replayed once the fee exists.
func (Entry) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	request, err := lumin.DecodeSignatureRequest(e.Payload)
	if err != nil {
		return worker.JobFail(err)
	}
	product, found := productOf(request.Title)
	if !found {
		return river.JobCancel(errors.New("the title names no product"))
	}
	booked, err := tx.Exec(ctx, entrySQL, e.Key.String(), e.SignatureRequestID, product, e.Time)
	if err != nil {
		return err
	}
	if booked.RowsAffected() == 0 {
		return worker.JobFail(fmt.Errorf("product %s has no fee: add it to accounting.fees", product))
	}
	worker.Logger(ctx).Info("booked", "product", product)
	return nil
}

var productPattern = regexp.MustCompile(`^\[([A-Z]{1,20})\] `)

// productOf returns the product at the start of a title. Only the product
// appears in errors and the log, because the rest of a title may contain names.
func productOf(title *string) (string, bool) {
	if title == nil {
		return "", false
	}
	match := productPattern.FindStringSubmatch(*title)
	if match == nil {
		return "", false
	}
	return match[1], true
}
