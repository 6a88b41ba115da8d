package app

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/replay"
)

// replayPrinter prints a plan and its outcome, as text or as JSON. [output]
// keeps the errors of writing text.
type replayPrinter interface {
	plan(plan window.Plan) error
	notOrdered() error // ends a dry run
	ordered(id int64) error
}

func (c *replayCommand) printer(w io.Writer, order replay.NewOrder) replayPrinter {
	if c.json() {
		return &replayJSON{w: w, line: replayLine{Rate: c.Rate, DryRun: c.DryRun}}
	}
	return &replayText{w: w, order: order, wait: c.Wait}
}

// replayText prints text for people.
type replayText struct {
	w     io.Writer
	order replay.NewOrder
	wait  bool

	planned window.Plan // what plan has printed
}

func (t *replayText) plan(plan window.Plan) error {
	t.planned = plan
	switch {
	case plan.Empty():
		fmt.Fprintf(t.w, "nothing to replay: no %s matches\n", replayTargets(t.order.Filter.Status))
	case len(plan.JobTypes) == 0:
		noEstimate(t.w, plan.MayMiss)
	default:
		printPlan(t.w, plan, t.order)
	}
	noteLeftOut(t.w, plan.LeftOut)
	return nil
}

// noteLeftOut says which runs match a filter and are left out. left is nil if they
// were not counted.
func noteLeftOut(w io.Writer, left *window.LeftOut) {
	if left == nil {
		return
	}
	if left.WithoutBody > 0 {
		fmt.Fprintf(w, "%s left out: retention or an erasure has removed the body of the event\n", leftOut(left.WithoutBody, *left))
	}
	if left.Dismissed > 0 {
		fmt.Fprintf(w, "%s left out: dismissed; \"failures restore\" brings them back\n", leftOut(left.Dismissed, *left))
	}
}

// leftOut formats a number of runs that are left out.
func leftOut(n int64, left window.LeftOut) string {
	if left.Exact {
		return runs(n)
	}
	return countText(n, false) + " runs"
}

func (t *replayText) notOrdered() error { return noChangeAsOf(t.w, t.planned) }

func (t *replayText) ordered(id int64) error {
	if t.wait {
		fmt.Fprintf(t.w, "replay %d ordered\n", id)
	} else {
		fmt.Fprintf(t.w, "replay %d ordered; a running worker carries it out: %s replays watch %d\n", id, invocation(), id)
	}
	return nil
}

func printPlan(w io.Writer, plan window.Plan, order replay.NewOrder) {
	heading := strings.ToUpper(string(cmp.Or(order.Filter.Status, replay.Failed))) + " RUNS"
	if order.Filter.Status == replay.Unrecognized {
		heading = "UNRECOGNIZED EVENTS"
	}
	rows := make([][]string, len(plan.JobTypes))
	for i, p := range plan.JobTypes {
		duration := "-"
		if p.EstimateSeconds != nil {
			duration = approxDuration(time.Duration(*p.EstimateSeconds * float64(time.Second)))
		}
		kind := "(made into events)"
		if p.Kind != nil {
			kind = *p.Kind
		}
		rows[i] = []string{kind, countText(p.Runs, plan.Exact), timeCell(p.FirstReceived), timeCell(p.LastReceived), duration}
	}
	table(w, []string{"JOB TYPE", heading, "FIRST RECEIVED", "LAST RECEIVED", "TAKES ABOUT"}, rows)
	noteEstimate(w, plan.Exact, "job type", plan.MayMiss)
	if order.Rate > 0 {
		bound := "at least"
		if !plan.Exact {
			bound = "about"
		}
		fmt.Fprintf(w, "at %d a second: %s %s\n", order.Rate, bound, approxDuration(time.Duration(float64(plan.Runs)/float64(order.Rate)*float64(time.Second))))
	}
}

// replayJSON prints one line after it is known whether the replay is ordered.
type replayJSON struct {
	w    io.Writer
	line replayLine
}

// replayLine is a plan and the replay that was ordered from it.
type replayLine struct {
	window.Plan
	Rate     *int   `json:"rate"`      // at most this many runs per second; null: no limit
	DryRun   bool   `json:"dry_run"`   // true: nothing was ordered
	ReplayID *int64 `json:"replay_id"` // null: nothing was ordered
}

func (j *replayJSON) plan(plan window.Plan) error {
	j.line.Plan = plan
	if plan.Empty() {
		return printJSON(j.w, j.line)
	}
	return nil
}

func (j *replayJSON) notOrdered() error { return printJSON(j.w, j.line) }

func (j *replayJSON) ordered(id int64) error {
	j.line.ReplayID = &id
	return printJSON(j.w, j.line)
}

// progressLine is the progress of a replay as JSON.
type progressLine struct {
	ReplayID  int64            `json:"replay_id"`
	State     string           `json:"state"` // of the replay
	Over      bool             `json:"over"`  // this is the last line
	Total     int64            `json:"total_runs"`
	Exact     bool             `json:"exact"` // false: total_runs is an estimate
	Enqueued  int64            `json:"enqueued"`
	Withdrawn int64            `json:"withdrawn"`      // of the enqueued runs, by a cancel
	Later     int64            `json:"replayed_later"` // of the enqueued runs, by later replays; or they were removed
	Runs      map[string]int64 `json:"runs"`           // the other enqueued runs by state; no state is left out
	Error     *string          `json:"error"`          // why the replay was refused or failed, or which runs it left out
}

// progressJSON returns a function that prints the progress as one line when it
// has changed.
func progressJSON(w io.Writer) func(progress) {
	due := dueProgress()
	return func(p progress) {
		line := progressLine{
			ReplayID: p.order.ID, State: p.order.State, Over: p.finished, Total: p.total, Exact: p.exact,
			Enqueued: p.order.Enqueued, Withdrawn: p.order.Withdrawn, Later: p.later,
			Runs: map[string]int64{"pending": 0, "parked": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "dismissed": 0},
		}
		maps.Copy(line.Runs, p.runs)
		if p.order.Error != "" {
			line.Error = &p.order.Error
		}
		if due(p) {
			_ = printJSON(w, line) // output keeps the error
		}
	}
}
