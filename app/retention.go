package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// retentionSettings say how long things are kept.
type retentionSettings struct {
	RetainPayloads age `env:"RETAIN_PAYLOADS" default:"90d" placeholder:"AGE" help:"Remove bodies so long after they were received, such as 90d or 2160h; 0 keeps them as long as their event."`
	RetainEvents   age `env:"RETAIN_EVENTS" default:"400d" placeholder:"AGE" help:"Remove events, with their runs, so long after they were received; 0 keeps them for ever."`
}

// age is how long ago on the command line: 90d, or what Go takes for a duration.
type age struct{ d time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *age) UnmarshalText(text []byte) error {
	s := string(text)
	if days, found := strings.CutSuffix(s, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 100_000 {
			a.d = time.Duration(n) * 24 * time.Hour
			return nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not an age: write days such as 90d, hours such as 2160h, or 0", s)
	}
	a.d = d
	return nil
}

// String is the age as it is written on the command line.
func (a age) String() string {
	if days := a.d / (24 * time.Hour); days > 0 && a.d == days*24*time.Hour {
		return strconv.Itoa(int(days)) + "d"
	}
	return a.d.String()
}

// datedAhead is how far ahead of its delivery an event may be dated: package
// ingest refuses more. So much later it is refused for its age.
const datedAhead = 10 * time.Minute

// retention refuses what would have events forgotten that still come again.
func (s retentionSettings) retention(maxEventAge time.Duration) (store.Retention, error) {
	r := store.Retention{Payloads: s.RetainPayloads.d, Events: s.RetainEvents.d}
	least := max(lumin.RetryWindow+time.Hour, maxEventAge) + datedAhead
	if r.Events > 0 && r.Events < least {
		return r, usage(fmt.Sprintf("RETAIN_EVENTS is %s: an event that is forgotten while it may come again would be taken for a new one", r.Events),
			"give at least %s, which Lumin's retries and MAX_EVENT_AGE allow, or 0 for ever", least)
	}
	if r.Events > 0 && r.Payloads > r.Events {
		return r, usage("RETAIN_PAYLOADS is longer than RETAIN_EVENTS, but a body goes with its event", "make it %s or less; 0 removes no body before its event", r.Events)
	}
	return r, nil
}

type retentionCommand struct {
	databaseSettings
	outputSettings
	retentionSettings
	MaxEventAge time.Duration `env:"MAX_EVENT_AGE" default:"48h" help:"As serve has it."`
	DryRun      bool          `help:"Count what would be removed, and change nothing."`
}

// Run implements the command.
func (c *retentionCommand) Run(ctx context.Context, std streams) error {
	retention, err := c.retention(c.MaxEventAge)
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	now := time.Now()
	removed, kept, err := st.PlanRetention(ctx, retention, now)
	if err != nil {
		return err
	}
	if !c.DryRun {
		removed, err = st.Retain(ctx, retention, now)
	}
	if err != nil && removed.Rows() == 0 {
		return err
	}
	return errors.Join(c.print(std.out, removed, kept), err)
}

// print says what was removed, also before it came to an error.
func (c *retentionCommand) print(w io.Writer, removed store.Retained, kept int64) error {
	if c.Output == "json" {
		return printJSON(w, struct {
			store.Retained
			KeptForRuns int64 `json:"kept_for_runs"`
			DryRun      bool  `json:"dry_run"`
		}{removed, kept, c.DryRun})
	}
	if removed.Rows() == 0 {
		fmt.Fprintln(w, "nothing to remove: "+c.nothing(kept))
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
		{"events that pending or failed runs need, which stay", count(kept)},
	})
	if c.DryRun {
		fmt.Fprintln(w, "dry run: nothing changed")
	}
	return nil
}

// nothing says why there is nothing to remove.
func (c *retentionCommand) nothing(kept int64) string {
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
		return fmt.Sprintf("of what is old enough, pending or failed runs need %d events", kept)
	default:
		return strings.Join(young, ", and ")
	}
}
