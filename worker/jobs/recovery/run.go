package recovery

import (
	"context"
	"errors"
	"slices"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/worker/jobs/internal/lookup"
)

// Run asks about the signature requests of a selection and records what is
// missing, one signature request after the other. report gets each recorded
// event. It is not called concurrently.
//
// Run may be stopped at any time, and several calls may run at once. An error
// means that Run did not get to the end of the selection.
func (r *Recoverer) Run(ctx context.Context, s Selection, report func(Finding)) (Summary, error) {
	p, err := r.begin(ctx)
	if err != nil {
		return Summary{}, err
	}
	err = p.each(ctx, s, func(ctx context.Context, id string) error {
		list, err := p.ask(ctx, id)
		// What was found before an error is certain all the same.
		if failed := p.recordAll(ctx, list, report); err == nil {
			err = failed
		}
		return err
	})
	return p.summary(), err
}

// Plan holds the events that a pass has found. Record records them.
type Plan struct {
	pass  *pass
	found []found
	size  int // bytes of the answers that are kept
}

// maxKept is how many bytes of answers a Plan keeps. Record asks again for those
// that it did not keep.
const maxKept = 64 << 20

// Plan asks about the signature requests of a selection and records nothing.
// report gets each event that Record would record.
func (r *Recoverer) Plan(ctx context.Context, s Selection, report func(Finding)) (*Plan, error) {
	p, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{pass: p}
	return plan, p.each(ctx, s, func(ctx context.Context, id string) error {
		list, err := p.ask(ctx, id)
		for _, f := range list {
			report(f.Finding)
			plan.keep(f)
		}
		return err
	})
}

func (pl *Plan) keep(f found) {
	if pl.size += len(f.object); pl.size > maxKept {
		f.object = nil
	}
	pl.found = append(pl.found, f)
}

// Summary counts what the plan found, and what Record has recorded of it.
func (pl *Plan) Summary() Summary { return pl.pass.summary() }

// Record records the events of the plan. Events that were reported meanwhile, and
// those of signature requests that were erased, are left out. Record may be stopped
// at any time.
func (pl *Plan) Record(ctx context.Context, report func(Finding)) error {
	p := pl.pass
	p.progress = Progress{Total: len(pl.found)}
	for _, f := range pl.found {
		p.report()
		if f.object == nil {
			if err := p.again(ctx, &f); err != nil {
				return err
			}
		}
		if f.object != nil {
			if err := p.recordAll(ctx, []found{f}, report); err != nil {
				return err
			}
		}
		p.progress.Done++
	}
	p.report()
	return nil
}

// again asks once more for an answer that was not kept. The object stays nil if
// the event is no longer certain.
func (p *pass) again(ctx context.Context, f *found) error {
	answer, err := p.lookup.Ask(ctx, f.SignatureRequestID)
	switch {
	case errors.Is(err, lookup.ErrSkip):
		return nil
	case err != nil:
		return err
	case answer.Status == nil || !slices.Contains(certain(*answer.Status), f.EventType):
		p.sum.Open++
		return nil
	}
	f.object, f.asOf = answer.Object, answer.AsOf
	return nil
}

// begin returns a pass that has asked about nothing yet.
func (r *Recoverer) begin(ctx context.Context) (*pass, error) {
	p := &pass{
		Recoverer: r, operator: operate.New(r.Store), lookup: lookup.New(r.Lumin, r.Store.Pool(), r.Rate),
		jobTypes: map[lumin.EventType][]string{},
	}
	if r.Reconcile != nil {
		p.reconcile = r.Reconcile.Along(p.lookup)
	}
	for _, e := range ends() {
		t := lumin.EventType(e.EventType)
		jobs, err := store.RecoveredJobs(ctx, r.Store.Pool(), t)
		if err != nil {
			return nil, err
		}
		p.jobTypes[t] = []string{} // in JSON not null
		for _, job := range jobs {
			p.jobTypes[t] = append(p.jobTypes[t], job.Kind)
		}
	}
	return p, nil
}
