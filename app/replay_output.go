package app

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/store"
)

// replayPrinter shows a plan and what became of it, as text or as json. Errors of
// writing text are kept by [output].
type replayPrinter interface {
	plan(plan []store.PlannedReplay, left *store.LeftOut) // left: nil if not looked for
	nothingOrdered() error
	ordered(id int64) error
}

func (c *replayCommand) printer(w io.Writer, order store.NewReplay) replayPrinter {
	if c.Output == "json" {
		return &replayJSON{w: w, line: replayLine{Rate: c.Rate, DryRun: c.DryRun}}
	}
	return &replayText{w: w, order: order, wait: c.Wait}
}

// replayText is for people.
type replayText struct {
	w     io.Writer
	order store.NewReplay
	wait  bool
	empty bool
}

func (t *replayText) plan(plan []store.PlannedReplay, left *store.LeftOut) {
	t.empty = len(plan) == 0
	if t.empty {
		fmt.Fprintf(t.w, "nothing to replay: no %s matches\n", whatIsReplayed(t.order.Filter.Status))
	} else {
		printPlan(t.w, plan, t.order)
	}
	if left == nil {
		return
	}
	if left.Bodiless > 0 {
		fmt.Fprintf(t.w, "%s left out: retention or an erasure has removed the body of the event, which the job type needs\n", runs(left.Bodiless))
	}
	if left.Dismissed > 0 {
		fmt.Fprintf(t.w, "%s left out: dismissed; \"failures restore\" brings them back\n", runs(left.Dismissed))
	}
}

func (t *replayText) nothingOrdered() error {
	if !t.empty {
		fmt.Fprintln(t.w, "dry run: nothing changed")
	}
	return nil
}

func (t *replayText) ordered(id int64) error {
	if t.wait {
		fmt.Fprintf(t.w, "replay %d ordered\n", id)
	} else {
		fmt.Fprintf(t.w, "replay %d ordered; a running worker carries it out: %s replays watch %d\n", id, invocation(), id)
	}
	return nil
}

func printPlan(w io.Writer, plan []store.PlannedReplay, order store.NewReplay) {
	heading := strings.ToUpper(string(cmp.Or(order.Filter.Status, store.ReplayFailed))) + " RUNS"
	if order.Filter.Status == store.ReplayUnrecognized {
		heading = "UNRECOGNIZED EVENTS"
	}
	var total int64
	rows := make([][]string, len(plan))
	for i, p := range plan {
		total += p.Runs
		estimate := "-"
		if p.Estimate > 0 {
			estimate = roughly(p.Estimate)
		}
		rows[i] = []string{cmp.Or(p.Kind, "(made into events)"), strconv.FormatInt(p.Runs, 10), timeCell(p.FirstEvent), timeCell(p.LastEvent), estimate}
	}
	table(w, []string{"JOB TYPE", heading, "FIRST RECEIVED", "LAST RECEIVED", "TAKES ABOUT"}, rows)
	if order.Rate > 0 {
		fmt.Fprintf(w, "at %d a second: at least %s\n", order.Rate, roughly(time.Duration(float64(total)/float64(order.Rate)*float64(time.Second))))
	}
}

// replayJSON prints one line when it is known whether there is an order.
type replayJSON struct {
	w    io.Writer
	line replayLine
}

// replayLine is a plan, and the order that was made of it.
type replayLine struct {
	Plan      []planLine   `json:"plan"`
	TotalRuns int64        `json:"total_runs"`
	LeftOut   *leftOutLine `json:"left_out"`  // null: not looked for
	Rate      *int         `json:"rate"`      // runs a second at most; null: no limit
	DryRun    bool         `json:"dry_run"`   // then nothing was ordered
	ReplayID  *int64       `json:"replay_id"` // null: nothing was ordered
}

// planLine is what one job type gets. The fields are those of store.PlannedReplay.
type planLine struct {
	Kind            *string    `json:"job_kind"` // null: unrecognized events, to be decoded
	Runs            int64      `json:"runs"`
	FirstReceived   *time.Time `json:"first_received_at"`
	LastReceived    *time.Time `json:"last_received_at"`
	EstimateSeconds *float64   `json:"estimate_seconds"` // null: unknown
}

// leftOutLine counts runs that match and are not replayed.
type leftOutLine struct {
	WithoutBody int64 `json:"without_body"`
	Dismissed   int64 `json:"dismissed"`
}

func (j *replayJSON) plan(plan []store.PlannedReplay, left *store.LeftOut) {
	for _, p := range plan {
		line := planLine{Runs: p.Runs, FirstReceived: p.FirstEvent, LastReceived: p.LastEvent}
		if p.Kind != "" {
			line.Kind = &p.Kind
		}
		if p.Estimate > 0 {
			seconds := p.Estimate.Seconds()
			line.EstimateSeconds = &seconds
		}
		j.line.TotalRuns += p.Runs
		j.line.Plan = append(j.line.Plan, line)
	}
	if left != nil {
		j.line.LeftOut = &leftOutLine{WithoutBody: left.Bodiless, Dismissed: left.Dismissed}
	}
}

func (j *replayJSON) nothingOrdered() error { return printJSON(j.w, j.line) }

func (j *replayJSON) ordered(id int64) error {
	j.line.ReplayID = &id
	return printJSON(j.w, j.line)
}

// progressLine is how far an order is, as json.
type progressLine struct {
	ReplayID int64            `json:"replay_id"`
	State    string           `json:"state"` // of the order
	Over     bool             `json:"over"`  // this is the last line
	Total    int64            `json:"total_runs"`
	Enqueued int64            `json:"enqueued"`
	Runs     map[string]int64 `json:"runs"`  // by state; each state is there
	Error    *string          `json:"error"` // why the order was refused or failed, or what it had to leave
}

// progressJSON returns what prints a line whenever something has changed, at most
// every few seconds, and the last one at once.
func progressJSON(w io.Writer) func(progress) {
	show := whenChanged()
	return func(p progress) {
		line := progressLine{
			ReplayID: p.order.ID, State: p.order.State, Over: p.over, Total: p.total, Enqueued: p.order.Enqueued,
			Runs: map[string]int64{"pending": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "dismissed": 0},
		}
		maps.Copy(line.Runs, p.runs)
		if p.order.Error != "" {
			line.Error = &p.order.Error
		}
		if show(p) {
			_ = printJSON(w, line) // output keeps the error
		}
	}
}
