package app

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/replay"
	"lumin-ingest/store/retention"
)

func TestCountText(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "about 0", 7: "about 7", 99: "about 99", 104: "about 100", 996: "about 1000", 45_678: "about 46000",
		999_499: "about 1 million", 1_234_567: "about 1.2 million", 34_567_890: "about 35 million",
		123_456_789: "about 120 million", 1_250_000_000: "about 1.3 billion",
	} {
		if got := countText(n, false); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if got := countText(1_234_567, true); got != "1234567" {
		t.Errorf("exact: %q", got)
	}
}

// shown is something that a command prints, and what must be in it.
type shown struct {
	show func(w *strings.Builder)
	want []string
}

// What a person sees of an estimate says that it is one.
func TestEstimatedPlansAreMarked(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	plan := window.Plan{JobTypes: []window.PlannedRuns{{Kind: new("book"), Runs: 1_234_567, FirstReceived: &at, LastReceived: &at}}, Runs: 1_234_567, MayMiss: 1234}
	withLeftOut := plan
	withLeftOut.LeftOut = &window.LeftOut{Dismissed: 4567}
	order := replay.NewOrder{Filter: replay.Filter{Status: replay.Failed}, Rate: 100}
	const note = "estimated from a sample: a job type of fewer than 1300 runs may be missing; --exact counts all\n"
	checkShown(t, map[string]shown{
		"replay": {
			func(w *strings.Builder) { _ = (&replayText{w: w, order: order}).plan(plan) },
			[]string{"about 1.2 million", note, "at 100 a second: about 3h26m\n"},
		},
		"replay of few": {
			func(w *strings.Builder) { _ = (&replayText{w: w, order: order}).plan(window.Plan{MayMiss: 1234}) },
			[]string{"estimated from a sample: none matches, or fewer than 1300; --exact counts all\n"},
		},
		"left out": {
			func(w *strings.Builder) {
				_ = (&replayText{w: w, order: order}).plan(withLeftOut)
			},
			[]string{"about 4600 runs left out: dismissed"},
		},
		"replay as json": {
			func(w *strings.Builder) {
				j := &replayJSON{w: w}
				_ = j.plan(withLeftOut)
				_ = j.notOrdered()
			},
			[]string{`"total_runs":1234567,"exact":false,"may_miss":1234,`, `"left_out":{"without_body":0,"dismissed":4567,"exact":false}`},
		},
		"dismiss": {
			func(w *strings.Builder) { runChange{heading: "FAILED RUNS"}.show(w, plan) },
			[]string{"about 1.2 million", note},
		},
	})
}

func TestEstimatedNumbersAreMarked(t *testing.T) {
	t.Parallel()
	checkShown(t, map[string]shown{
		"failures": {
			func(w *strings.Builder) {
				g := failures.Groups{Groups: []failures.Group{{Kind: "book", Runs: 4567, SucceededBefore: 2345}}, MayMiss: 1234}
				showGroups(w, failedListing(), g)
			},
			[]string{"about 4600 (about 2300 had succeeded before)", "a group of fewer than 1300 runs may be missing; --exact counts all\n"},
		},
		"retention": {
			func(w *strings.Builder) {
				c := &retentionCommand{DryRun: true}
				_ = c.print(w, retention.Planned{Removed: retention.Removed{Events: 1_234_567}, Kept: 4567, MayMiss: 1234})
			},
			[]string{"about 1.2 million", "about 4600", "estimated from a sample: a number of fewer than 1300 rows may be shown as 0; --exact counts all\n"},
		},
		"retention of few": {
			func(w *strings.Builder) {
				_ = (&retentionCommand{DryRun: true}).print(w, retention.Planned{MayMiss: 1234})
			},
			[]string{"about 0", "may be shown as 0"},
		},
		"retention as json": {
			func(w *strings.Builder) {
				c := &retentionCommand{DryRun: true}
				c.Output = "json"
				_ = c.print(w, retention.Planned{Kept: 4567, MayMiss: 1234})
			},
			[]string{`"kept_for_runs":4567,"kept_for_runs_exact":false,"exact":false,"may_miss":1234,"dry_run":true`},
		},
		"what retention has removed, as json": {
			func(w *strings.Builder) {
				c := &retentionCommand{}
				c.Output = "json"
				_ = c.print(w, retention.Planned{Removed: retention.Removed{Events: 1_234_567}, Kept: 4567, MayMiss: 1234})
			},
			[]string{`"events":1234567`, `"kept_for_runs":4567,"kept_for_runs_exact":false,"exact":true,"may_miss":1234,"dry_run":false`},
		},
	})
}

func checkShown(t *testing.T, all map[string]shown) {
	t.Helper()
	for name, c := range all {
		var out strings.Builder
		c.show(&out)
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %q is not in\n%s", name, want, out.String())
			}
		}
	}
}
