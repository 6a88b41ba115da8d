// Package accounting is an example of a transactional job type: an accounting entry
// for every contract that all have signed, exactly once per event.
//
//	registry.AddTx(accounting.Entry{})
//
// The fee comes from the table accounting.fees, by the product in front of the title:
// "[LEASE] Berth 12". [Schema] makes the tables.
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
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Schema is the SQL that makes the tables.
//
//go:embed schema.sql
var Schema string

// Entry is the job type.
type Entry struct {
	worker.Defaults
}

// Kind implements worker.JobType.
func (Entry) Kind() string { return "accounting_entry" }

// Events implements worker.JobType.
func (Entry) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

// Amounts stay in PostgreSQL, whose numeric is exact: no float64 ever holds one. The
// day is that of the event, and not that of the attempt.
const entrySQL = `
INSERT INTO accounting.entries (event_key, signature_request_id, product, net, tax, currency, booked_on)
SELECT $1, $2, f.product, f.net, round(f.net * f.tax_rate, 2), f.currency, ($4::timestamptz AT TIME ZONE 'UTC')::date
FROM accounting.fees f WHERE f.product = $3`

// WorkTx implements worker.Transactional. A contract without a product is none of
// ours; a product without a fee can be replayed once it has one.
func (Entry) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
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

// productOf reads the product in front of a title. Only that gets into errors and the
// log: the rest of a title may hold names.
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
