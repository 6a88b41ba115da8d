package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker/jobs/internal/lookup"
	"lumin-ingest/worker/jobs/internal/merge"
	"lumin-ingest/worker/jobs/reconcile"
)

// pass asks about the signature requests of one selection.
type pass struct {
	*Recoverer
	operator  *operate.Operator
	lookup    *lookup.Pass
	reconcile *reconcile.Companion // nil without Reconcile
	jobTypes  map[lumin.EventType][]string
	progress  Progress
	sum       Summary
}

// found is a Finding with the answer that it was found in.
type found struct {
	Finding
	asOf   time.Time
	object []byte // of the API's answer; nil if it was not kept
}

// ask asks about one signature request and returns the events to record. A
// failure that concerns only this one is counted.
func (p *pass) ask(ctx context.Context, id string) ([]found, error) {
	answer, err := p.lookup.Ask(ctx, id)
	if err == nil && p.reconcile != nil {
		err = p.reconcile.Take(ctx, answer)
	}
	var list []found
	if err == nil {
		list, err = p.take(ctx, answer)
	}
	if errors.Is(err, lookup.ErrSkip) {
		err = nil
	}
	p.sum.Found += len(list)
	return list, err
}

// take returns the events that follow from an answer and are to be recorded.
func (p *pass) take(ctx context.Context, answer lookup.Answer) ([]found, error) {
	if answer.Unknown {
		p.sum.Unknown = append(p.sum.Unknown, answer.ID)
		if len(p.sum.Unknown) >= lookup.MaxUnknown {
			return nil, p.confirm(ctx)
		}
		return nil, nil
	}
	types := p.types(answer)
	if types == nil {
		return nil, nil
	}
	missing, err := p.missing(ctx, answer.ID, types)
	p.sum.Stored += len(types) - len(missing)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	stored := true // retention removes nothing
	if p.Retain > 0 {
		if stored, err = signaturerequest.HasEvents(ctx, p.Store.Pool(), answer.ID); err != nil {
			return nil, err
		}
	}
	at, verdict := limits{now: p.Now, retain: p.Retain, since: p.Since}.judge(answer.State, stored)
	if p.skip(verdict, len(missing), at) {
		return nil, nil
	}
	return p.findings(ctx, answer, missing, at)
}

// types returns the events that an answer proves. It counts an answer that proves
// none.
func (p *pass) types(answer lookup.Answer) []lumin.EventType {
	if !merge.UsableStatus(answer.Status) {
		p.failed(answer.ID, errNoStatus)
		return nil
	}
	types := certain(*answer.Status)
	switch {
	case types != nil:
	case answer.Status.Documented():
		p.sum.Open++
	default:
		if p.sum.OtherStatuses == nil {
			p.sum.OtherStatuses = map[string]int{}
		}
		p.sum.OtherStatuses[string(*answer.Status)]++
	}
	return types
}

var errNoStatus = errors.New("the answer has no status")

// skip counts events that are not to be recorded.
func (p *pass) skip(v verdict, events int, at time.Time) bool {
	switch v {
	case tooEarly:
		p.sum.Retried += events
		if until := at.Add(Wait); p.sum.RetriedUntil == nil || until.After(*p.sum.RetriedUntil) {
			p.sum.RetriedUntil = &until
		}
	case noTime:
		p.sum.NoTime += events
	case tooOld:
		p.sum.TooOld += events
	case before:
		p.sum.Before += events
	case record:
		return false
	}
	return true
}

// missing returns those of the types that no source has ever reported. The row of
// a signature request remembers some events that retention has removed.
func (p *pass) missing(ctx context.Context, id string, types []lumin.EventType) ([]lumin.EventType, error) {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	stored, err := signaturerequest.StoredTypes(ctx, p.Store.Pool(), id, names)
	if err != nil || len(stored) == len(types) {
		return nil, err
	}
	row, known, err := signaturerequest.Find(ctx, p.Store.Pool(), id)
	if err != nil {
		return nil, err
	}
	if known {
		stored = append(stored, merge.SeenTypes(row)...)
	}
	return lacking(types, stored), nil
}

// findings returns the events of an answer that lacks these. downloadable needs a
// file.
func (p *pass) findings(ctx context.Context, answer lookup.Answer, types []lumin.EventType, at time.Time) (list []found, err error) {
	for _, t := range types {
		if t == lumin.SignatureRequestDownloadable {
			has, err := p.lookup.HasFile(ctx, answer.ID, lumin.FileAgreement)
			if err != nil {
				return list, err // what else is missing is certain all the same
			}
			if !has {
				p.sum.NoFile++
				continue
			}
		}
		list = append(list, found{asOf: answer.AsOf, object: answer.Object, Finding: Finding{
			SignatureRequestID: answer.ID, EventType: t, Since: at, JobTypes: p.jobTypes[t], MayBeRetried: at.After(answer.AsOf.Add(-Wait)),
		}})
	}
	return list, nil
}

// recordAll records events, and reports each that is recorded.
func (p *pass) recordAll(ctx context.Context, list []found, report func(Finding)) error {
	for _, f := range list {
		id, err := p.record(ctx, f)
		switch {
		case err != nil:
			return err
		case id != 0:
			f.EventID = id
			p.sum.Recorded++
			report(f.Finding)
		}
	}
	return nil
}

const (
	// lockTries is how often recording is tried while deliveries of many events are
	// being recorded.
	lockTries = 20
	lockPause = 500 * time.Millisecond
)

// record records one event with its runs. It returns 0 if the event has been
// stored or its signature request has been erased meanwhile.
func (p *pass) record(ctx context.Context, f found) (eventID int64, err error) {
	envelope := envelopeOf(f.SignatureRequestID, f.EventType, f.Since)
	body, err := payload(envelope, f.object, origin{At: f.asOf.UnixMilli(), By: p.By.Name, API: p.Lumin.BaseURL()})
	if err != nil {
		p.failed(f.SignatureRequestID, err)
		return 0, nil
	}
	for try := 1; ; try++ {
		receipt, err := p.operator.Recover(ctx, p.By, f.SignatureRequestID, f.EventType, store.Recovery{Payload: body, RecoveredAt: time.Now()})
		switch {
		case errors.Is(err, operate.ErrErased):
			p.sum.Erased++
			return 0, nil
		case errors.Is(err, store.ErrRecoveryBusy) && try < lockTries:
		case err != nil:
			return 0, fmt.Errorf("record %s of signature request %s: %w", f.EventType, f.SignatureRequestID, err)
		case receipt.Status != store.Recorded:
			p.sum.Stored++
			return 0, nil
		default:
			return receipt.EventID, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// failed counts a failure that concerns one signature request only.
func (p *pass) failed(id string, err error) {
	p.sum.Failed++
	p.sum.Cause = cmp.Or(p.sum.Cause, fmt.Sprintf("signature request %q: %s", id, err))
}

// summary returns the counts so far.
func (p *pass) summary() Summary {
	sum := p.sum
	sum.Checked = p.lookup.Checked
	sum.Failed += p.lookup.Failed
	sum.Cause = cmp.Or(p.lookup.Cause, sum.Cause)
	if p.reconcile != nil {
		sum.Reconciled = p.reconcile.Summary()
	}
	return sum
}
