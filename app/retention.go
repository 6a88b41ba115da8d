package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/duration"
	"lumin-ingest/lumin"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/retention"
)

// retentionSettings say how long bodies and events are kept.
type retentionSettings struct {
	RetainPayloads age `env:"RETAIN_PAYLOADS" default:"90d" placeholder:"AGE" help:"Age at which bodies are removed, in days (90d), weeks or hours; 0 keeps them as long as their event."`
	RetainEvents   age `env:"RETAIN_EVENTS" default:"400d" placeholder:"AGE" help:"Age at which events and their runs are removed; 0 keeps them forever."`
}

// futureTolerance is how far an event's time may be ahead of its delivery.
// Package ingest refuses later times. The age limit of such an event expires
// that much later.
const futureTolerance = 10 * time.Minute

// policy refuses ages that would remove events or bodies while Lumin may still
// deliver them again.
func (s retentionSettings) policy(maxEventAge time.Duration) (retention.Policy, error) {
	r := retention.Policy{Payloads: s.RetainPayloads.d, Events: s.RetainEvents.d}
	least := max(lumin.RetryWindow+time.Hour, maxEventAge) + futureTolerance
	if r.Events > 0 && r.Events < least {
		return r, advice.Usage(fmt.Sprintf("RETAIN_EVENTS is %s: a redelivery after the removal of its event would be recorded as a new event", s.RetainEvents),
			"give at least %s, which Lumin's retries and MAX_EVENT_AGE allow, or 0 to keep events forever", least)
	}
	if r.Payloads > 0 && r.Payloads < least {
		return r, advice.Usage(fmt.Sprintf("RETAIN_PAYLOADS is %s: a redelivery after the removal of the body could not be compared with it", s.RetainPayloads),
			"give at least %s, which Lumin's retries and MAX_EVENT_AGE allow, or 0 to keep bodies as long as their event", least)
	}
	if r.Events > 0 && r.Payloads > r.Events {
		return r, advice.Usage("RETAIN_PAYLOADS is longer than RETAIN_EVENTS, but a body is removed with its event", "make it %s or less; 0 removes no body before its event", s.RetainEvents)
	}
	return r, nil
}

type retentionCommand struct {
	databaseSettings
	outputSettings
	exactSettings
	retentionSettings
	MaxEventAge time.Duration `env:"MAX_EVENT_AGE" default:"48h" help:"Same as for serve."`
	DryRun      bool          `help:"Count the rows that would be removed, and change nothing."`
	Yes         bool          `help:"Confirm that bodies or events younger than 30 days may be removed."`
}

// confirmBelow is the age below which the command removes data only with --yes.
const confirmBelow = 30 * duration.Day

func (c *retentionCommand) Run(ctx context.Context, std streams) error {
	policy, err := c.policy(c.MaxEventAge)
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	now, err := st.Now(ctx)
	if err != nil {
		return err
	}
	plan, err := c.planRetention(ctx, st.Pool(), policy, now)
	if err != nil {
		return err
	}
	if !c.DryRun && !c.Yes {
		if err := c.refuseYoung(ctx, std, st.Pool(), policy, plan, now); err != nil {
			return err
		}
	}
	if !c.DryRun {
		by := operate.Actor{Name: currentActor(), Via: operate.Command}
		plan.Removed, err = operate.New(st).Retain(ctx, by, policy, now, "")
	}
	if err != nil && plan.Rows() == 0 {
		return err
	}
	return errors.Join(c.print(std.out, plan), err)
}

// refuseYoung prints the plan and fails if it would remove data younger than
// confirmBelow. Otherwise a single run with a wrong setting would do the
// damage.
func (c *retentionCommand) refuseYoung(ctx context.Context, std streams, pool *pgxpool.Pool, policy retention.Policy, plan retention.Planned, now time.Time) error {
	old := policy
	for _, kept := range []*time.Duration{&old.Payloads, &old.Events} {
		if *kept > 0 {
			*kept = max(*kept, confirmBelow)
		}
	}
	if old == policy {
		return nil
	}
	if young, err := retention.RemovesMore(ctx, pool, policy, old, now); err != nil || !young {
		return err
	}
	c.DryRun = true
	if err := c.print(std.out, plan); err != nil {
		return err
	}
	return advice.Usage(fmt.Sprintf("with RETAIN_PAYLOADS %s and RETAIN_EVENTS %s, this would remove bodies or events younger than 30 days", c.RetainPayloads, c.RetainEvents),
		"nothing has changed; add --yes to remove them")
}

// print reports what would be removed, or what was removed, including what was
// removed before an error. What was removed is exact.
func (c *retentionCommand) print(w io.Writer, p retention.Planned) error {
	exact := p.Exact || !c.DryRun
	if c.json() {
		return printJSON(w, struct {
			retention.Removed
			KeptForRuns int64 `json:"kept_for_runs"`
			KeptExact   bool  `json:"kept_for_runs_exact"`
			Exact       bool  `json:"exact"` // all but kept_for_runs
			MayMiss     int64 `json:"may_miss"`
			DryRun      bool  `json:"dry_run"`
		}{p.Removed, p.Kept, p.Exact, exact, p.MayMiss, c.DryRun})
	}
	if p.Rows() == 0 && exact {
		fmt.Fprintln(w, "nothing to remove: "+c.emptyReason(p))
		return nil
	}
	heading := "REMOVED"
	if c.DryRun {
		heading = "WOULD BE REMOVED"
	}
	count := func(n int64) string { return countText(n, exact) }
	table(w, []string{heading, ""}, [][]string{
		{"bodies", count(p.Payloads)}, {"events", count(p.Events)},
		{"runs", count(p.Runs)}, {"redeliveries", count(p.Redeliveries)},
		{"events kept for pending or failed runs", countText(p.Kept, p.Exact)},
	})
	if !exact {
		fmt.Fprintf(w, "estimated from a sample: a number of fewer than %d rows may be shown as 0; --exact counts all\n", roundUp(p.MayMiss))
	}
	if c.DryRun {
		return noChange(w)
	}
	return nil
}

// emptyReason explains why there is nothing to remove.
func (c *retentionCommand) emptyReason(p retention.Planned) string {
	var young []string
	if c.RetainPayloads.d > 0 {
		young = append(young, "no body is older than "+c.RetainPayloads.String())
	}
	if c.RetainEvents.d > 0 {
		young = append(young, "no event is older than "+c.RetainEvents.String())
	}
	switch {
	case len(young) == 0:
		return "RETAIN_PAYLOADS and RETAIN_EVENTS are 0, which keeps everything"
	case p.Kept > 0 && !p.Exact:
		return "pending or failed runs need the events that are old enough"
	case p.Kept > 0:
		return fmt.Sprintf("pending or failed runs need the %d events that are old enough", p.Kept)
	default:
		return strings.Join(young, ", and ")
	}
}
