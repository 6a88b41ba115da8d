package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

type queuesCommand struct {
	List   queuesListCommand   `cmd:"" default:"withargs" help:"List the queues that programs have used, and count their jobs. The default."`
	Pause  queuesPauseCommand  `cmd:"" help:"Make all programs take no further jobs from a queue. Jobs that are running go on."`
	Resume queuesResumeCommand `cmd:"" help:"End a pause."`
}

type queuesListCommand struct {
	listSettings
}

func (c *queuesListCommand) Run(ctx context.Context, std streams) error {
	return list(ctx, std, c.listSettings, queueListing(), func(w operatorWindow) ([]window.Queue, error) { return w.Queues(ctx) })
}

func queueListing() listing[window.Queue] {
	return listing[window.Queue]{
		empty:    "no program has used a queue",
		headings: []string{"QUEUE", "PAUSED", "QUEUED", "RUNNING", "WAITING", "OLDEST", "JOB TYPES"},
		cells: func(q window.Queue) []string {
			return []string{
				q.Name, timeOrDash(q.PausedAt), strconv.FormatInt(q.Queued, 10), strconv.FormatInt(q.Running, 10),
				strconv.FormatInt(q.Waiting, 10), timeOrDash(q.Oldest), strings.Join(q.Kinds, ", "),
			}
		},
		cut: []string{"JOB TYPES"},
	}
}

// oneQueue names a queue to change.
type oneQueue struct {
	windowSettings
	Queue  string `arg:"" help:"Name of the queue."`
	Reason string `help:"Why. It is stored in the audit log, so do not name a person in it."`
	actorSettings
}

type queuesPauseCommand struct{ oneQueue }

func (c *queuesPauseCommand) Run(ctx context.Context, std streams) error {
	return c.change(ctx, std, operatorWindow.PauseQueue, "paused: no program takes further jobs from it; running jobs go on")
}

type queuesResumeCommand struct{ oneQueue }

func (c *queuesResumeCommand) Run(ctx context.Context, std streams) error {
	return c.change(ctx, std, operatorWindow.ResumeQueue, "resumed: its jobs are worked again")
}

// change pauses or resumes the queue, and says what follows.
func (c *oneQueue) change(ctx context.Context, std streams, do func(w operatorWindow, ctx context.Context, queue, reason string) error, done string) error {
	w, closeWindow, err := c.openWindowAs(ctx, c.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	switch err := do(w, ctx, c.Queue, c.Reason); {
	case errors.Is(err, store.ErrNotFound):
		return advice.Usage("no program has used a queue "+c.Queue, "\"queues\" lists them")
	case errors.Is(err, operate.ErrInternalQueue):
		return advice.Usage(err.Error(), "pause the queues of the job types instead: \"queues\" lists them")
	case err != nil:
		return unsure(err, "\"queues\" shows which queues are paused")
	}
	_, err = fmt.Fprintf(std.out, "queue %s is %s\n", c.Queue, done)
	return err
}
