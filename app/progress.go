package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// waitingSince is how long an order may wait before it is said that nobody works.
const waitingSince = 3 * time.Second

// watchReplay shows the progress of an order until it is over, across failures of
// the connection. The error tells that runs were left failed or cancelled.
func watchReplay(ctx context.Context, replays *replay.Store, std streams, id int64, asJSON bool) error {
	show, told, lost, alone := newProgress(std.out), std.out, false, false
	if asJSON {
		show, told = progressJSON(std.out), io.Discard // the last line has the result
	}
	for begun := time.Now(); ; {
		start := time.Now()
		now, err := readProgress(ctx, replays, id)
		switch {
		case ctx.Err() != nil: // told below
		case errors.Is(err, store.ErrNotFound), err != nil && !transient(err):
			return noSuchReplay(err)
		case err != nil:
			if !lost {
				fmt.Fprintf(std.err, "%s: lost the connection to the database, still trying; the replay continues meanwhile\n", programName())
				lost = true
			}
		default:
			lost = false
			show(now)
			if now.over {
				return now.result(told)
			}
			if !alone && now.order.State == "ordered" && time.Since(begun) > waitingSince {
				fmt.Fprintf(std.err, "%s: no worker has started this replay yet. \"%[2]s serve\" starts a worker; \"%[2]s doctor\" shows which programs run\n", programName(), invocation())
				alone = true
			}
		}
		// To count a million runs takes a while: at most a tenth of the time goes
		// into it.
		select {
		case <-ctx.Done():
			return hint(errors.New("interrupted; the replay goes on"), "%s replays watch %d shows it again, replays cancel %d ends it", invocation(), id, id)
		case <-time.After(max(300*time.Millisecond, 10*time.Since(start))):
		}
	}
}

// progress is how far an order is.
type progress struct {
	order replay.Order
	over  bool
	total int64
	runs  map[string]int64 // by state
}

func readProgress(ctx context.Context, replays *replay.Store, id int64) (progress, error) {
	order, err := replays.Get(ctx, id)
	if err != nil {
		return progress{}, err
	}
	counts, err := replays.Runs(ctx, id)
	if err != nil {
		return progress{}, err
	}
	p := progress{order: order, runs: map[string]int64{}, total: order.Enqueued}
	for _, c := range counts {
		p.runs[c.State] += c.Runs
	}
	if order.Planned != nil {
		p.total = max(p.total, *order.Planned)
	}
	// What was put back belongs to the order no more, though it still has its number.
	if state := order.Filter.Status.RunState(); p.runs[state] > 0 {
		p.runs[state] = max(p.runs[state]-order.Withdrawn, 0)
	}
	// The order itself is told a little later.
	p.over = order.Finished() || (order.State == "running" && order.EnqueuedAt != nil && p.runs["pending"] == 0)
	return p, nil
}

func (p progress) settled() int64 {
	return p.runs["succeeded"] + p.runs["failed"] + p.runs["dismissed"] + p.runs["cancelled"]
}

// result says how the order ended.
func (p progress) result(w io.Writer) error {
	const advice = "\"failures\" groups what failed, \"replays show %d\" tells more"
	switch {
	case p.order.State == "refused" || p.order.State == "failed":
		return hint(fmt.Errorf("replay %d %s: %s", p.order.ID, p.order.State, p.order.Error), "correct the replay and order it again")
	case p.order.State == "cancelled":
		return hint(fmt.Errorf("replay %d was cancelled: %d runs are as they were", p.order.ID, p.total-p.settled()), advice, p.order.ID)
	case p.runs["failed"]+p.runs["dismissed"]+p.runs["cancelled"] > 0:
		return hint(fmt.Errorf("replay %d: %d succeeded, %d failed, %d cancelled", p.order.ID, p.runs["succeeded"], p.runs["failed"]+p.runs["dismissed"], p.runs["cancelled"]), advice, p.order.ID)
	case p.order.Error != "":
		return hint(fmt.Errorf("replay %d: %s", p.order.ID, p.order.Error), advice, p.order.ID)
	case p.total > p.settled() && p.order.Filter.Status != replay.Unrecognized:
		return hint(fmt.Errorf("replay %d: %d succeeded, %d others were settled otherwise or are another order's", p.order.ID, p.runs["succeeded"], p.total-p.settled()),
			"\"replays list\" shows the orders")
	case p.order.Filter.Status == replay.Unrecognized:
		fmt.Fprintf(w, "replay %d done: %d events decoded\n", p.order.ID, p.order.Enqueued)
	default:
		fmt.Fprintf(w, "replay %d done: %d succeeded\n", p.order.ID, p.runs["succeeded"])
	}
	return nil
}

// newProgress returns what shows progress: a bar on a terminal, and elsewhere a
// line whenever something has changed, every few seconds at most.
func newProgress(w io.Writer) func(progress) {
	if f := terminal(w); f != nil {
		bar := progressbar.NewOptions64(1, progressbar.OptionSetWriter(f), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetDescription("replay"))
		return func(p progress) {
			bar.ChangeMax64(max(p.total, 1))
			_ = bar.Set64(p.settled()) // a terminal that is gone needs no bar
			if p.over {
				fmt.Fprintln(f)
			}
		}
	}
	show := changedAt()
	return func(p progress) {
		if show(p) {
			fmt.Fprintln(w, p)
		}
	}
}

// String formats the progress as one line.
func (p progress) String() string {
	return fmt.Sprintf("%s: %d of %d enqueued, %d succeeded, %d failed, %d cancelled, %d pending", p.order.State,
		p.order.Enqueued, p.total, p.runs["succeeded"], p.runs["failed"], p.runs["cancelled"], p.runs["pending"])
}

// changedAt returns a function that reports whether to print a progress: if it
// differs from the previous one, at most every few seconds, and always the last.
func changedAt() func(progress) bool {
	const every = 5 * time.Second
	var (
		said string
		at   time.Time
	)
	return func(p progress) bool {
		if line := p.String(); (line != said || p.over) && (p.over || time.Since(at) >= every) {
			said, at = line, time.Now()
			return true
		}
		return false
	}
}
