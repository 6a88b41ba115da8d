package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// ErrErased refuses to recover an event of a signature request that was erased.
var ErrErased = errors.New("the signature request was erased")

// Recover records an event with its runs and a row of the log, in one transaction;
// see [store.Store.RecoverTx]. id and t are those in the payload. Without a new event
// there is no row. The error is [ErrErased] if an erasure names the signature
// request.
func (o *Operator) Recover(ctx context.Context, by Actor, id string, t lumin.EventType, r store.Recovery) (receipt store.Receipt, err error) {
	err = pgx.BeginTxFunc(ctx, o.pool, query.ReadCommitted, func(tx pgx.Tx) error {
		if receipt, err = o.store.RecoverTx(ctx, tx, r); err != nil || receipt.Status != store.Recorded {
			return err
		}
		tag, err := tx.Exec(ctx, recoveredSQL, by.Name, by.Via, by.From, receipt.EventID, string(t), id)
		if err != nil {
			return fmt.Errorf("write the audit log: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrErased
		}
		return nil
	})
	return receipt, err
}

// recoveredSQL writes the row of a recovered event, unless an erasure names the
// signature request: see [erasure.Erased]. It is one statement, because recordings
// wait for this transaction. An erasure that is ordered later waits for it too.
const recoveredSQL = `
INSERT INTO lumin.audit_log (actor, via, from_address, action, subject, outcome, finished_at)
SELECT $1, $2, $3, '` + ActionRecoverEvent + `', jsonb_build_object('event', $4::bigint, 'event_type', $5::text), 'done', now()
WHERE NOT EXISTS (SELECT FROM lumin.erasures e WHERE $6 = ANY (e.signature_request_ids))`

// Pass is a pass of recover in the log. Its row remembers how far the pass has
// come, so that another one can continue after a crash.
type Pass struct {
	Progress
	id int64
	o  *Operator
}

// Progress is how far a pass of recover has come.
type Progress struct {
	Checked  int    `json:"checked"`         // signature requests
	Recorded int    `json:"recorded"`        // events
	Failed   int    `json:"failed"`          // signature requests without a usable answer
	Unknown  int    `json:"unknown"`         // signature requests that Lumin does not know
	Retried  int    `json:"may_be_retried"`  // events that Lumin may still deliver
	Until    string `json:"until,omitempty"` // the latest time at which it may; RFC 3339
	After    string `json:"after,omitempty"` // the last signature request; empty at the end of the pass
}

// resumeWithin is how long a pass can be continued. What was open at its beginning
// may have ended since.
const resumeWithin = 24 * time.Hour

// lastPassSQL finds the newest pass of the same subject.
const lastPassSQL = `
SELECT result FROM lumin.audit_log
WHERE action = '` + ActionRecover + `' AND subject = $1 AND at > now() - make_interval(secs => $2) ORDER BY id DESC LIMIT 1`

// BeginPass writes the row of a pass of recover. subject says which signature
// requests it is about, and becomes a JSON object. If the newest pass with the
// same subject was stopped before its end within a day, the new one has its
// Progress.
func (o *Operator) BeginPass(ctx context.Context, by Actor, subject any, reason string) (*Pass, error) {
	about, err := object(subject)
	if err != nil {
		return nil, fmt.Errorf("write the audit log: %w", err)
	}
	p := &Pass{o: o}
	var last json.RawMessage
	err = o.pool.QueryRow(ctx, lastPassSQL, about, resumeWithin.Seconds()).Scan(&last)
	switch {
	case err == nil:
		err = json.Unmarshal(last, &p.Progress)
	case errors.Is(err, pgx.ErrNoRows):
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the last pass in the audit log: %w", err)
	}
	if p.After == "" {
		p.Progress = Progress{}
	}
	if p.id, err = o.begin(ctx, by, Change{ActionRecover, subject, reason}); err != nil {
		return nil, err
	}
	return p, p.Save(ctx)
}

// openPassSQL finds a pass without an outcome that has saved its progress lately. A
// pass saves it after each signature request, but may have to wait for Lumin's API. The
// limit of its age lets an index serve.
const openPassSQL = `
SELECT actor, at FROM lumin.audit_log
WHERE action = '` + ActionRecover + `' AND outcome IS NULL AND at > now() - interval '7 days'
  AND coalesce((result ->> 'saved_at')::timestamptz, at) > now() - interval '3 minutes'
ORDER BY id DESC LIMIT 1`

// OpenPass returns when the newest pass began that seems to be under way, and who began
// it. Its program may have been killed in the last three minutes.
func (o *Operator) OpenPass(ctx context.Context) (by string, at time.Time, found bool, err error) {
	err = o.pool.QueryRow(ctx, openPassSQL).Scan(&by, &at)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", at, false, nil
	case err != nil:
		return "", at, false, fmt.Errorf("find passes in the audit log: %w", err)
	}
	return by, at, true, nil
}

const saveSQL = `UPDATE lumin.audit_log SET result = $2::jsonb || jsonb_build_object('saved_at', clock_timestamp()) WHERE id = $1`

// Save stores how far the pass has come.
func (p *Pass) Save(ctx context.Context) error {
	stored, err := object(p.Progress)
	if err == nil {
		_, err = p.o.pool.Exec(ctx, saveSQL, p.id, stored)
	}
	if err != nil {
		return fmt.Errorf("store the progress in the audit log: %w", err)
	}
	return nil
}

// Finish stores the outcome. Without an error the pass came to its end.
func (p *Pass) Finish(ctx context.Context, failure error) error {
	if failure == nil { // nothing to continue
		p.After, p.Unknown, p.Retried, p.Until = "", 0, 0, ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	if err := p.o.finish(ctx, p.id, p.Progress, failure); err != nil {
		return fmt.Errorf("row %d of the audit log lacks the outcome: %w", p.id, err)
	}
	return nil
}
