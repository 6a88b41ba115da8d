package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/duration"
	"lumin-ingest/lumin"
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
	removed, kept, err := retention.Plan(ctx, st.Pool(), policy, now)
	if err != nil {
		return err
	}
	if !c.DryRun && !c.Yes {
		if err := c.refuseYoung(ctx, std, st.Pool(), policy, now); err != nil {
			return err
		}
	}
	if !c.DryRun {
		removed, err = retention.Run(ctx, st.Pool(), policy, now)
	}
	if err != nil && removed.Rows() == 0 {
		return err
	}
	return errors.Join(c.print(std.out, removed, kept), err)
}

// refuseYoung prints the plan and fails if it would remove data younger than
// confirmBelow. Otherwise a single run with a wrong setting would do the
// damage.
func (c *retentionCommand) refuseYoung(ctx context.Context, std streams, pool *pgxpool.Pool, policy retention.Policy, now time.Time) error {
	old := policy
	for _, kept := range []*time.Duration{&old.Payloads, &old.Events} {
		if *kept > 0 {
			*kept = max(*kept, confirmBelow)
		}
	}
	if old == policy {
		return nil
	}
	plan, kept, err := retention.Plan(ctx, pool, policy, now)
	if err != nil {
		return err
	}
	harmless, _, err := retention.Plan(ctx, pool, old, now)
	if err != nil || plan.Rows() == harmless.Rows() {
		return err
	}
	c.DryRun = true
	if err := c.print(std.out, plan, kept); err != nil {
		return err
	}
	return advice.Usage(fmt.Sprintf("with RETAIN_PAYLOADS %s and RETAIN_EVENTS %s, this would remove bodies or events younger than 30 days", c.RetainPayloads, c.RetainEvents),
		"nothing has changed; add --yes to remove them")
}

// print reports what was removed, including what was removed before an error.
func (c *retentionCommand) print(w io.Writer, removed retention.Removed, kept int64) error {
	if c.json() {
		return printJSON(w, struct {
			retention.Removed
			KeptForRuns int64 `json:"kept_for_runs"`
			DryRun      bool  `json:"dry_run"`
		}{removed, kept, c.DryRun})
	}
	if removed.Rows() == 0 {
		fmt.Fprintln(w, "nothing to remove: "+c.emptyReason(kept))
		return nil
	}
	heading := "REMOVED"
	if c.DryRun {
		heading = "WOULD BE REMOVED"
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	table(w, []string{heading, ""}, [][]string{
		{"bodies", count(removed.Payloads)}, {"events", count(removed.Events)},
		{"runs", count(removed.Runs)}, {"redeliveries", count(removed.Redeliveries)},
		{"events kept for pending or failed runs", count(kept)},
	})
	if c.DryRun {
		fmt.Fprintln(w, "dry run: nothing changed")
	}
	return nil
}

// emptyReason explains why there is nothing to remove.
func (c *retentionCommand) emptyReason(kept int64) string {
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
	case kept > 0:
		return fmt.Sprintf("pending or failed runs need the %d events that are old enough", kept)
	default:
		return strings.Join(young, ", and ")
	}
}
