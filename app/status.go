package app

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/lanes"
)

type statusCommand struct {
	listSettings
}

func (c *statusCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	s, err := w.Status(ctx)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(std.out, s)
	}
	showStatus(std.out, s)
	return nil
}

// showStatus prints the work, and below it what needs attention.
func showStatus(w io.Writer, s window.Status) {
	statusListing().table(w, s.JobTypes)
	fmt.Fprintln(w)
	var notes []string
	if len(s.Programs) == 0 {
		notes = append(notes, "no program is running: nothing is received or worked")
	}
	for _, p := range s.Programs {
		for _, queue := range p.Stuck {
			notes = append(notes, fmt.Sprintf("queue %s has no free worker left in the program on %s, process %d", queue, p.Host, p.PID))
		}
	}
	for _, q := range s.Queues {
		if q.PausedAt != nil {
			notes = append(notes, fmt.Sprintf("queue %s is paused since %s", q.Name, timeCell(q.PausedAt)))
		}
	}
	for _, h := range s.HeldLanes {
		if h.Lanes > 0 {
			notes = append(notes, fmt.Sprintf("failed runs of %s hold lanes: %s, the oldest since %s", h.Kind, lanes.Held(h).Number(), timeCell(h.Since)))
		}
	}
	if s.Undecided > 0 {
		notes = append(notes, undecidedText(s.Undecided, s.TwoSigners))
	}
	if s.Late > 0 {
		notes = append(notes, fmt.Sprintf("late events that wait for a decision: %d", s.Late))
	}
	if s.Unrecognized > 0 {
		notes = append(notes, unrecognizedText(s.Unrecognized))
	}
	for _, a := range s.Alerts {
		notes = append(notes, "alert "+a.Key+": "+a.Text)
	}
	if len(notes) == 0 {
		notes = []string{fmt.Sprintf("nothing else needs attention; programs that run: %d", len(s.Programs))}
	}
	for _, note := range notes {
		fmt.Fprintln(w, note)
	}
}

func statusListing() listing[window.JobType] {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return listing[window.JobType]{
		empty:    "no program has registered a job type",
		headings: []string{"JOB TYPE", "QUEUE", "QUEUED", "RUNNING", "RETRYING", "PARKED", "FAILED", "OLDEST PENDING", "PROGRAMS"},
		cells: func(t window.JobType) []string {
			return []string{
				t.Kind, t.Queue, number(t.Queued), number(t.Running), number(t.Retrying), number(t.Parked), number(t.Failed),
				timeOrDash(t.Oldest), strconv.Itoa(t.Programs),
			}
		},
	}
}
