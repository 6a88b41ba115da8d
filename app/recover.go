package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/worker/jobs/recovery"
)

type recoverCommand struct {
	databaseSettings
	luminSettings
	outputSettings
	SignatureRequest []string `sep:"none" placeholder:"ID" help:"Only these signature requests, known here or not. Repeat the flag for each. Without it and --ids-from: all in lumin.signature_requests that are open, or have ended without the event of their end."`
	IDsFrom          string   `name:"ids-from" placeholder:"FILE" help:"Signature requests from a file, or - for standard input: one id a line. Blank lines and lines that begin with # are ignored."`
	Since            when     `placeholder:"TIME" help:"Only what happened since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Now              bool     `help:"Also recover events that Lumin may still deliver, and events without a time in Lumin's answer. If the original arrives later, it counts as a redelivery."`
	RetainEvents     age      `env:"RETAIN_EVENTS" default:"400d" placeholder:"AGE" help:"The same as for serve. What happened longer ago is not recovered: its event may have been stored and removed."`
	Rate             float64  `default:"1.5" help:"At most this many requests to Lumin per second. Lumin publishes no limit; a draft of its documentation had 3,000 in 30 minutes."`
	Reason           string   `help:"Reason for the recovery. It is stored in the audit log."`
	actorSettings
	DryRun bool `help:"Print the plan and change nothing. Exits with 1 if events can be recovered."`
	Yes    bool `help:"Record each event as soon as it is found. Without this flag, the plan is printed first. On a terminal you are then asked; elsewhere nothing is recorded."`
}

func (c *recoverCommand) Run(ctx context.Context, std streams) error {
	if err := checkRate(c.Rate); err != nil {
		return err
	}
	if err := c.Since.checkPast(); err != nil {
		return err
	}
	client, _, err := c.client()
	if err != nil {
		return err
	}
	if client == nil {
		return advice.Usage("no key for Lumin's API is given", "set LUMIN_API_KEY to a key of the workspace")
	}
	if c.IDsFrom == "-" && !c.Yes && !c.DryRun {
		return advice.Usage("--ids-from - takes standard input, so you cannot be asked whether to record", "add --dry-run to look at the plan, or --yes to record the events as they are found")
	}
	ids, err := c.ids(std)
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	if err := store.CheckPrograms(ctx, st.Pool()); err != nil {
		return c.explain(ctx, err, "nothing is recorded")
	}
	r := &recovery.Recoverer{
		Store: st, Lumin: client, By: operate.Actor{Name: c.actor(), Via: operate.Command},
		Retain: c.RetainEvents.d, Now: c.Now, Rate: c.Rate,
	}
	if c.Since.at != nil {
		r.Since = *c.Since.at
	}
	if c.Now {
		fmt.Fprintf(std.err, "%s: warning: with --now, Lumin may still deliver the original of a recovered event. It will count as a redelivery, but the job types will have had Lumin's answer instead\n", programName())
	}
	out := newRecoverOutput(std, c.json(), ids)
	if err := out.noteOther(ctx, st); err != nil {
		return err
	}
	if c.Yes && !c.DryRun {
		return c.record(ctx, r, ids, out)
	}
	return c.plan(ctx, std, r, ids, out)
}

// record records what is missing as it is found. It continues a run of the same
// command that was stopped.
func (c *recoverCommand) record(ctx context.Context, r *recovery.Recoverer, ids []string, out *recoverOutput) error {
	pass, err := operate.New(r.Store).BeginPass(ctx, r.By, c.subject(ids), c.Reason)
	if err != nil {
		return err
	}
	if pass.After != "" {
		out.note("continuing a recovery that was stopped, or that another person runs: %s checked, %s recorded before", signatureRequests(pass.Checked), events(pass.Recorded))
	}
	before := pass.Progress
	r.Progress = func(p recovery.Progress) {
		out.progress(p)
		if p.Last != "" && p.Last != pass.After {
			pass.Progress = progressOf(before, p, pass.Recorded)
			_ = pass.Save(ctx) // without it, one signature request is asked about again after a crash
		}
	}
	sum, err := r.Run(ctx, recovery.Selection{IDs: ids, After: pass.After}, func(f recovery.Finding) {
		pass.Recorded++
		out.recorded(f)
	})
	if errors.Is(err, recovery.ErrAllUnknown) {
		pass.Progress = before // with the right key, the same ones are asked about
	}
	if finished := pass.Finish(ctx, err); err == nil {
		err = finished
	}
	unknown := before.Unknown + len(sum.Unknown)
	out.summary(withBefore(sum, before), err == nil)
	if err == nil && sum.Failed == 0 && before.Failed > 0 {
		return advice.Add(fmt.Errorf("%s got no usable answer before the recovery was stopped", signatureRequests(before.Failed)), "run recover again: it asks about all of them")
	}
	return c.result(ctx, sum, err, ids != nil, unknown)
}

// progressOf adds the progress of a pass to that of the one that it continues.
func progressOf(before operate.Progress, p recovery.Progress, recorded int) operate.Progress {
	sum := withBefore(p.Summary, before)
	now := operate.Progress{
		Checked: before.Checked + p.Done, Recorded: recorded, After: p.Last, Until: before.Until,
		Failed: before.Failed + sum.Failed, Unknown: before.Unknown + len(sum.Unknown), Retried: sum.Retried,
	}
	if sum.RetriedUntil != nil {
		now.Until = sum.RetriedUntil.UTC().Format(time.RFC3339)
	}
	return now
}

// withBefore adds to a summary what was left to Lumin before the recovery was stopped.
func withBefore(sum recovery.Summary, before operate.Progress) recovery.Summary {
	sum.Retried += before.Retried
	if at, err := time.Parse(time.RFC3339, before.Until); err == nil && (sum.RetriedUntil == nil || at.After(*sum.RetriedUntil)) {
		sum.RetriedUntil = &at
	}
	return sum
}

// plan shows what is missing, and records it if the user agrees.
func (c *recoverCommand) plan(ctx context.Context, std streams, r *recovery.Recoverer, ids []string, out *recoverOutput) error {
	r.Progress = out.progress
	plan, err := r.Plan(ctx, recovery.Selection{IDs: ids}, out.planned)
	if err != nil {
		if plan != nil {
			out.plan(plan.Summary(), false)
		}
		return c.explain(ctx, err, "nothing is recorded")
	}
	out.plan(plan.Summary(), true)
	switch {
	case c.DryRun:
		out.unchanged()
		return c.result(ctx, plan.Summary(), nil, ids != nil, len(plan.Summary().Unknown))
	case plan.Summary().Found == 0:
		return c.result(ctx, plan.Summary(), nil, ids != nil, len(plan.Summary().Unknown))
	}
	agreed, err := confirm(ctx, std, fmt.Sprintf("Record %s with their runs?", events(plan.Summary().Found)))
	switch {
	case errors.Is(err, errNoTerminal):
		return advice.Usage("nothing changed: the plan above needs --yes", "add --yes to record these events; that asks Lumin again")
	case err != nil:
		return c.explain(ctx, err, "nothing is recorded")
	case !agreed:
		out.unchanged()
		return nil
	}
	return c.recordPlan(ctx, r, plan, ids, out)
}

func (c *recoverCommand) recordPlan(ctx context.Context, r *recovery.Recoverer, plan *recovery.Plan, ids []string, out *recoverOutput) error {
	pass, err := operate.New(r.Store).BeginPass(ctx, r.By, c.subject(ids), c.Reason)
	if err != nil {
		return err
	}
	pass.Progress = operate.Progress{Checked: plan.Summary().Checked} // it asks about the rest only
	err = plan.Record(ctx, func(f recovery.Finding) {
		pass.Recorded++
		out.recorded(f)
	})
	if finished := pass.Finish(ctx, err); err == nil {
		err = finished
	}
	out.summary(plan.Summary(), err == nil)
	return c.result(ctx, plan.Summary(), err, ids != nil, len(plan.Summary().Unknown))
}

// recoverSubject says in the audit log which signature requests a recovery is
// about. A later run with the same subject can continue it.
type recoverSubject struct {
	Of     string   `json:"of"`                              // "known", or "given" by the user
	IDs    []string `json:"signature_request_ids,omitempty"` // given, if they are few
	Given  int      `json:"signature_requests,omitempty"`    // how many were given
	SHA256 string   `json:"sha256,omitempty"`                // of the given ids
	Since  string   `json:"since,omitempty"`                 // as it was written
	Now    bool     `json:"now,omitempty"`
}

func (c *recoverCommand) subject(ids []string) recoverSubject {
	const few = 20
	s := recoverSubject{Of: "known", Given: len(ids), Since: c.Since.text, Now: c.Now}
	if ids != nil {
		s.Of = "given"
	}
	if len(ids) <= few {
		s.IDs = ids
	}
	if len(ids) > few {
		sum := sha256.Sum256([]byte(strings.Join(ids, "\n")))
		s.SHA256 = hex.EncodeToString(sum[:])
	}
	return s
}

// result turns the end of a pass into the error of the command; nil if nothing is
// left to do.
func (c *recoverCommand) result(ctx context.Context, sum recovery.Summary, err error, given bool, unknown int) error {
	left := sum.Found - sum.Recorded
	switch {
	case err != nil:
		return c.explain(ctx, err, events(sum.Recorded)+" recorded")
	case sum.Failed > 0:
		return advice.Add(fmt.Errorf("%s got no usable answer; the first error: %s", signatureRequests(sum.Failed), sum.Cause), "run recover again")
	case c.DryRun && left > 0:
		return advice.Add(fmt.Errorf("%s can be recovered", events(left)), "\"%s recover\" records them", invocation())
	case given && unknown > 0:
		return advice.Add(fmt.Errorf("not known to Lumin: %d of the given signature requests", unknown), "compare these ids with your own system")
	}
	return nil
}

// explain adds advice to the error that ended a pass.
func (c *recoverCommand) explain(ctx context.Context, err error, done string) error {
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return advice.Add(errors.New("interrupted: "+done), "run the same command again: nothing is recorded twice, and with --yes it continues where it stopped")
	case errors.Is(err, store.ErrOlderProgram):
		return advice.Add(err, "update them, or stop them and wait a minute; then run recover again")
	case errors.Is(err, store.ErrRecoveryBusy):
		return advice.Add(fmt.Errorf("%s: %w", done, store.ErrRecoveryBusy), "run the same command again: with --yes it continues where it stopped. If this repeats, \"%s doctor\" names sessions that keep events locked", invocation())
	}
	return explainPass(err, c.LuminAPIURL, "recover")
}

// ids returns the signature requests that the flags name, sorted and without
// repetitions; nil if they name none.
func (c *recoverCommand) ids(std streams) ([]string, error) {
	if len(c.SignatureRequest) == 0 && c.IDsFrom == "" {
		return nil, nil
	}
	ids := []string{}
	for _, id := range c.SignatureRequest {
		if problem := idProblem(id); problem != "" {
			return nil, advice.Usage(fmt.Sprintf("--signature-request %q: %s", id, problem), "give an id of Lumin, such as fa5c8a0b0f492d768749333ad6fcc214c111e967")
		}
		ids = append(ids, id)
	}
	if c.IDsFrom != "" {
		listed, err := readIDs(c.IDsFrom, std.in)
		if err != nil {
			return nil, err
		}
		ids = append(ids, listed...)
	}
	if len(ids) == 0 {
		return nil, advice.Usage(c.IDsFrom+" has no id", "write one id a line")
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
