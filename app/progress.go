package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// startTimeout is how long a replay may wait for a worker before watchReplay
// says that none has started it.
const startTimeout = 3 * time.Second

// watchReplay shows the progress of a replay until it is finished. It continues
// after failures of the connection. It returns an error if any run has failed
// or was cancelled.
func watchReplay(ctx context.Context, w operatorWindow, std streams, id int64, asJSON bool) error {
	show, resultOut := newProgress(std.out), std.out
	if asJSON {
		show, resultOut = progressJSON(std.out), io.Discard // the last line has the result
	}
	from, transient := behind(w)
	started, lost, warned := time.Now(), false, false
	for {
		start := time.Now()
		now, err := readProgress(ctx, w, id)
		switch {
		case ctx.Err() != nil: // handled below
		case errors.Is(err, store.ErrNotFound), err != nil && !transient(err):
			return noSuchReplay(err)
		case err != nil:
			if !lost {
				fmt.Fprintf(std.err, "%s: lost the connection to the %s, still trying; the replay continues meanwhile\n", programName(), from)
				lost = true
			}
		default:
			lost = false
			show(now)
			if now.finished {
				return now.result(resultOut)
			}
			if !warned && now.order.State == "ordered" && time.Since(started) > startTimeout {
				fmt.Fprintf(std.err, "%s: no worker has started this replay yet. \"%[2]s serve\" starts a worker; \"%[2]s doctor\" shows which programs run\n", programName(), invocation())
				warned = true
			}
		}
		// Counting a million runs takes a while, so it gets at most a tenth of
		// the time.
		select {
		case <-ctx.Done():
			return advice.Add(errors.New("interrupted; the replay continues"), "%s replays watch %d shows it again, replays cancel %d ends it", invocation(), id, id)
		case <-time.After(max(300*time.Millisecond, 10*time.Since(start))):
		}
	}
}

// progress is how far a replay has come.
type progress struct {
	order    replay.Order
	finished bool
	total    int64
	exact    bool             // whether total is no estimate
	runs     map[string]int64 // by state
	later    int64            // taken by later replays, or removed
}

func readProgress(ctx context.Context, w operatorWindow, id int64) (progress, error) {
	order, err := w.ReplayOrder(ctx, id)
	if err != nil {
		return progress{}, err
	}
	counts, err := w.ReplayRuns(ctx, id)
	if err != nil {
		return progress{}, err
	}
	p := progress{order: order, runs: map[string]int64{}, total: order.Enqueued, later: order.ReplayedLater(counts)}
	for _, c := range counts {
		p.runs[c.State] += c.Runs
	}
	// An estimate is of no use once all runs are enqueued.
	if p.exact = order.PlannedExactly || order.EnqueuedAt != nil; order.Planned != nil && (order.PlannedExactly || !p.exact) {
		p.total = max(p.total, *order.Planned)
	}
	// The order itself is marked as done a little later.
	p.finished = order.Finished() || (order.State == "running" && order.EnqueuedAt != nil && p.open() == 0)
	return p, nil
}

func (p progress) settled() int64 {
	return p.runs["succeeded"] + p.runs["failed"] + p.runs["dismissed"] + p.runs["cancelled"] + p.later
}

// open counts the runs that have not ended. A replay that is done has some if their
// job was retried in River.
func (p progress) open() int64 { return p.runs["pending"] + p.runs["parked"] }

// result prints or returns how the replay ended.
func (p progress) result(w io.Writer) error {
	const remedy = "\"failures\" groups the failed runs, \"replays show %d\" shows more"
	switch {
	case p.order.State == "refused" || p.order.State == "failed":
		return advice.Add(fmt.Errorf("replay %d %s: %s", p.order.ID, p.order.State, p.order.Error), "correct the replay and order it again")
	case p.order.State == "cancelled":
		return advice.Add(fmt.Errorf("replay %d was cancelled: %s runs were not replayed", p.order.ID, countText(p.total-p.settled()-p.open(), p.exact)), remedy, p.order.ID)
	case p.settled() > p.runs["succeeded"]:
		return advice.Add(fmt.Errorf("replay %d: %s%s", p.order.ID, p.ended(), p.others()), remedy, p.order.ID)
	case p.order.State == "done" && p.open() > 0:
		return advice.Add(fmt.Errorf("replay %d: %s, %d pending again", p.order.ID, p.ended(), p.open()), remedy, p.order.ID)
	case p.order.Error != "":
		return advice.Add(fmt.Errorf("replay %d: %s", p.order.ID, p.order.Error), remedy, p.order.ID)
	case p.total > p.settled() && p.order.Filter.Status != replay.Unrecognized:
		return advice.Add(fmt.Errorf("replay %d: %d succeeded, %d others were settled in another way or belong to another replay", p.order.ID, p.runs["succeeded"], p.total-p.settled()),
			"\"replays list\" shows all replays")
	case p.order.Filter.Status == replay.Unrecognized:
		fmt.Fprintf(w, "replay %d done: %d events decoded\n", p.order.ID, p.order.Enqueued)
	default:
		fmt.Fprintf(w, "replay %d done: %d succeeded\n", p.order.ID, p.runs["succeeded"])
	}
	return nil
}

// newProgress returns a function that shows the progress: as a bar on a
// terminal, and elsewhere as a line when it has changed, every few seconds at
// most.
func newProgress(w io.Writer) func(progress) {
	if f := terminal(w); f != nil {
		bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true))
		return func(p progress) {
			bar.Describe(map[bool]string{true: "replay", false: "replay (estimated total)"}[p.exact])
			bar.ChangeMax64(max(p.total, 1))
			_ = bar.Set64(p.settled()) // a closed terminal needs no bar
			if p.finished {
				fmt.Fprintln(f)
			}
		}
	}
	due := dueProgress()
	return func(p progress) {
		if due(p) {
			fmt.Fprintln(w, p)
		}
	}
}

// String formats the progress as one line.
func (p progress) String() string {
	text := fmt.Sprintf("%s: %d of %s enqueued, %s, %d pending", p.order.State,
		p.order.Enqueued, countText(p.total, p.exact), p.ended(), p.runs["pending"])
	if parked := p.runs["parked"]; parked > 0 {
		text += fmt.Sprintf(", %d parked", parked) // see "lanes list"
	}
	return text + p.others()
}

// ended counts the runs by how they have ended.
func (p progress) ended() string {
	return fmt.Sprintf("%d succeeded, %d failed, %d cancelled", p.runs["succeeded"], p.runs["failed"], p.runs["cancelled"])
}

// others counts the rest of the enqueued runs.
func (p progress) others() (text string) {
	if n := p.runs["dismissed"]; n > 0 {
		text += fmt.Sprintf(", %d dismissed", n)
	}
	if p.later > 0 {
		text += fmt.Sprintf(", %d replayed again later or removed", p.later)
	}
	if p.order.Withdrawn > 0 {
		text += fmt.Sprintf(", %d restored", p.order.Withdrawn)
	}
	return text
}

// dueProgress returns a function that reports whether to print a progress: if
// it differs from the last printed one, at most every few seconds, and always
// the final one.
func dueProgress() func(progress) bool {
	const every = 5 * time.Second
	var (
		printed   string
		printedAt time.Time
	)
	return func(p progress) bool {
		line := p.String()
		if p.finished || (line != printed && time.Since(printedAt) >= every) {
			printed, printedAt = line, time.Now()
			return true
		}
		return false
	}
}
