package app

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/worker/jobs/recovery"
)

// recoverOutput prints what a recovery finds and records, as text or as JSON.
// [output] keeps write errors.
type recoverOutput struct {
	out, err io.Writer
	json     bool
	given    bool // the user has named the signature requests
	findings []recovery.Finding

	terminal *os.File // that shows the progress; nil: lines show it
	bar      *progressbar.ProgressBar
	shown    time.Time // when the last line of progress was printed
}

func newRecoverOutput(std streams, json bool, ids []string) *recoverOutput {
	return &recoverOutput{out: std.out, err: std.err, json: json, given: ids != nil, terminal: terminal(std.err), shown: time.Now()}
}

// note prints a remark beside the output.
func (o *recoverOutput) note(format string, args ...any) {
	fmt.Fprintf(o.err, "%s: %s\n", programName(), fmt.Sprintf(format, args...))
}

// noteOther says that another recovery may be under way.
func (o *recoverOutput) noteOther(ctx context.Context, st *store.Store) error {
	by, at, found, err := operate.New(st).OpenPass(ctx)
	if found {
		o.note("another recovery, by %s, began at %s and has not ended, or was killed: nothing is recorded twice", printable(by), timeText(o.err, at))
	}
	return err
}

// progress shows how far a pass has come: as a bar on a terminal, and elsewhere as
// a line every half minute.
func (o *recoverOutput) progress(p recovery.Progress) {
	const every = 30 * time.Second
	if o.terminal == nil {
		if time.Since(o.shown) >= every {
			o.shown = time.Now()
			o.note("%d of %s signature requests", p.Done, totalText(p))
		}
		return
	}
	if o.bar == nil {
		o.bar = progressbar.NewOptions(1, progressbar.OptionSetWriter(o.terminal), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
	}
	o.bar.ChangeMax(max(p.Total, 1))
	_ = o.bar.Set(p.Done) // a closed terminal needs no bar
}

func totalText(p recovery.Progress) string {
	if p.More {
		return "more than " + strconv.Itoa(p.Total)
	}
	return strconv.Itoa(p.Total)
}

// clear removes the bar, so that other output does not mix with it.
func (o *recoverOutput) clear() {
	if o.bar != nil {
		_ = o.bar.Clear()
	}
}

// planned takes an event of a plan.
func (o *recoverOutput) planned(f recovery.Finding) { o.findings = append(o.findings, f) }

// plan prints the events that would be recorded, and what is left out. An error has
// ended a plan that is not whole.
func (o *recoverOutput) plan(sum recovery.Summary, whole bool) {
	o.clear()
	o.bar = nil
	if o.json {
		for _, f := range o.findings {
			_ = printJSON(o.out, f)
		}
		if whole {
			_ = printJSON(o.out, sum)
		}
		return
	}
	if whole || len(o.findings) > 0 {
		listing[recovery.Finding]{
			empty:    o.nothing(sum),
			headings: []string{"SIGNATURE REQUEST", eventTypeHeading, "STATE SINCE", "JOB TYPES"},
			cells: func(f recovery.Finding) []string {
				return []string{f.SignatureRequestID, string(f.EventType), timeCell(&f.Since), jobTypesCell(f)}
			},
			cut: []string{"SIGNATURE REQUEST", "JOB TYPES"},
		}.table(o.out, o.findings)
	}
	o.leftOut(sum)
	if !whole {
		fmt.Fprintln(o.out, "the plan is not complete")
	}
}

// nothing says that there is nothing to recover.
func (o *recoverOutput) nothing(sum recovery.Summary) string {
	if !o.given && sum.Checked == 0 && sum.TooOldRequests == 0 && sum.Erased == 0 && sum.Failed == 0 {
		return "nothing to recover: lumin.signature_requests has no signature request that is open or lacks an event; --ids-from names others"
	}
	return "nothing to recover"
}

func jobTypesCell(f recovery.Finding) string {
	if len(f.JobTypes) == 0 {
		return "-"
	}
	return strings.Join(f.JobTypes, ", ")
}

// recorded prints a recorded event.
func (o *recoverOutput) recorded(f recovery.Finding) {
	o.clear()
	if o.json {
		_ = printJSON(o.out, f)
		return
	}
	fmt.Fprintln(o.out, printable(fmt.Sprintf("%s: %s since %s is event %d", f.SignatureRequestID, f.EventType, timeText(o.out, f.Since), f.EventID)))
}

// summary prints the counts of a pass. An error has ended one that is not whole.
func (o *recoverOutput) summary(sum recovery.Summary, whole bool) {
	o.clear()
	if o.json {
		_ = printJSON(o.out, sum)
		return
	}
	if whole && sum.Checked == 0 {
		fmt.Fprintln(o.out, o.nothing(sum))
	} else {
		fmt.Fprintf(o.out, "%s recorded, %s checked\n", events(sum.Recorded), signatureRequests(sum.Checked))
	}
	o.leftOut(sum)
}

// unchanged ends a plan that was not carried out.
func (o *recoverOutput) unchanged() {
	if !o.json {
		fmt.Fprintln(o.out, "nothing is recorded")
	}
}

// leftOut prints what is not recorded, and why.
func (o *recoverOutput) leftOut(sum recovery.Summary) {
	until := ""
	if sum.RetriedUntil != nil {
		until = ", until " + timeText(o.out, *sum.RetriedUntil)
	}
	var rows [][]string
	for _, r := range []struct {
		n    int
		what string
	}{
		{sum.Retried, "events that Lumin may still deliver" + until},
		{sum.Stored, "events that are stored already"},
		{sum.Open, "signature requests that have not ended"},
		{sum.Others(), "signature requests with a status that this version does not know: " + first(slices.Sorted(maps.Keys(sum.OtherStatuses)))},
		{sum.NoFile, "events downloadable: the file cannot be downloaded"},
		{sum.NoTime, "events without a time in Lumin's answer: --now records them"},
		{sum.TooOld, "events older than RETAIN_EVENTS, which may have been stored and removed"},
		{sum.TooOldRequests, "signature requests whose last change is older than RETAIN_EVENTS"},
		{sum.Before, "events before --since"},
		{sum.Erased, "erased signature requests"},
		{len(sum.Unknown), "signature requests that Lumin does not know: " + first(sum.Unknown)},
		{sum.Failed, "signature requests without a usable answer: " + sum.Cause},
	} {
		if r.n > 0 {
			rows = append(rows, []string{strconv.Itoa(r.n), r.what})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(o.out)
		table(o.out, []string{"LEFT OUT", ""}, rows)
	}
}

// first lists the first of some names.
func first(names []string) string {
	const shown = 10
	text := strings.Join(names[:min(len(names), shown)], ", ")
	if len(names) > shown {
		text += ", ..."
	}
	return text
}

// events formats a number of events.
func events(n int) string {
	if n == 1 {
		return "1 event"
	}
	return strconv.Itoa(n) + " events"
}

// signatureRequests formats a number of signature requests.
func signatureRequests(n int) string {
	if n == 1 {
		return "1 signature request"
	}
	return strconv.Itoa(n) + " signature requests"
}
