package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/store"
)

type eventsTailCommand struct {
	listSettings
	eventFilter
	Lines  int  `short:"n" default:"10" help:"Begin with this many of the newest events."`
	Follow bool `short:"f" help:"Keep running, and show each event as it is recorded."`
}

func (c *eventsTailCommand) Run(ctx context.Context, std streams) error {
	if c.Lines < 0 {
		return advice.Usage(fmt.Sprintf("--lines is %d", c.Lines), "give 0 or more")
	}
	if err := checkSourceFilter(c.Source); err != nil {
		return err
	}
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	filter, err := c.resolve(ctx, w)
	if err != nil {
		return err
	}
	filter.Limit = c.Lines
	tail, events, err := w.Tail(ctx, filter)
	if err != nil {
		return err
	}
	show := showJSON(std.out)
	if !c.json() {
		if len(events) == 0 && !c.Follow {
			fmt.Fprintln(std.out, eventListing().empty)
			return nil
		}
		show = showLines(std.out)
	}
	if err := show(events); err != nil || !c.Follow {
		return err
	}
	f := follower{next: tail.Next, show: show, err: std.err, every: 500 * time.Millisecond}
	f.from, f.transient = behind(w)
	return f.run(ctx)
}

func showJSON(w io.Writer) func([]store.EventSummary) error {
	return func(events []store.EventSummary) error { return printLines(w, events) }
}

// showLines prints lines under a heading. On a terminal, lines are cut at its
// width.
func showLines(w io.Writer) func([]store.EventSummary) error {
	layout := eventLayout(widthOf(w))
	line := func(cells []string) error {
		for i := range cells {
			cells[i] = printable(cells[i])
			if layout.screen > 0 {
				cells[i] = localTime(cells[i], time.Local) //nolint:gosmopolitan // the zone of the person at the terminal
			}
		}
		_, err := fmt.Fprintln(w, layout.line(cells))
		return err
	}
	headed := false
	return func(events []store.EventSummary) error {
		if !headed {
			headed = true
			if err := line(eventHeadings()); err != nil {
				return err
			}
		}
		for _, e := range events {
			if err := line(eventCells(e)); err != nil {
				return err
			}
		}
		return nil
	}
}

// lineLayout is the layout of lines of events. Later events are not known in
// advance, so the columns have the usual widths of Lumin's values.
type lineLayout struct {
	screen int   // width of the terminal; 0: no terminal
	widths []int // of the columns
	short  bool  // abbreviate times and event types
}

func eventLayout(screen int) lineLayout {
	if screen == 0 {
		return lineLayout{widths: []int{8, len(utcTime), 12, 34, 40, 12, 11}}
	}
	l := lineLayout{screen: screen, widths: []int{8, len(zonedTime), 12, 34, 40, 12, 11}}
	if l.total() <= screen {
		return l
	}
	l.short, l.widths[1], l.widths[3] = true, len(shortTime), 12
	l.widths[4] = max(leastCut, min(40, 40+screen-l.total()))
	return l
}

func (l lineLayout) total() int {
	total := -gap
	for _, width := range l.widths {
		total += width + gap
	}
	return total
}

// line formats cells in the order of eventHeadings.
func (l lineLayout) line(cells []string) string {
	if l.short {
		cells = abbreviated([][]string{eventHeadings(), cells})[1]
		cells[4] = shortened(cells[4], l.widths[4])
	}
	padded := make([]string, len(cells))
	for i, cell := range cells {
		padded[i] = fmt.Sprintf("%-*s", l.widths[i], cell)
	}
	text := strings.Join(padded, strings.Repeat(" ", gap))
	if l.screen > 0 {
		text = shortened(strings.TrimRight(text, " "), l.screen)
	}
	return strings.TrimRight(text, " ")
}

// follower shows new events until it is interrupted. It continues after
// failures of the connection.
type follower struct {
	next  func(context.Context) ([]store.EventSummary, error)
	show  func([]store.EventSummary) error
	err   io.Writer
	every time.Duration

	from      string           // what next asks: the database or the server
	transient func(error) bool // whether an error of next may disappear
}

const (
	maxFollowWait = 10 * time.Second // the wait between attempts doubles up to this
	followTimeout = 30 * time.Second // of one attempt
)

func (f *follower) run(ctx context.Context) error {
	wait, lost := f.every, false
	for {
		events, err := f.poll(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // interrupted, which is the regular end
		case err != nil && !f.transient(err):
			return err
		case err != nil:
			if !lost {
				fmt.Fprintf(f.err, "%s: lost the connection to the %s, still trying: %s\n", programName(), f.from, errtext.OneLine(err))
				lost = true
			} else {
				wait = min(2*wait, maxFollowWait)
			}
		default:
			if lost {
				fmt.Fprintf(f.err, "%s: the %s answers again; nothing was missed\n", programName(), f.from)
			}
			wait, lost = f.every, false
			if len(events) > 0 {
				if err := f.show(events); err != nil {
					return err
				}
				continue // there may be more
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// poll reads the events since the previous call.
func (f *follower) poll(ctx context.Context) ([]store.EventSummary, error) {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	return f.next(ctx)
}

// transient reports whether an error may disappear on its own: the connection
// has failed, or the server is stopping, starting or short of resources.
func transient(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return true
	}
	return pgerrcode.IsConnectionException(pgErr.Code) || pgerrcode.IsInsufficientResources(pgErr.Code) ||
		pgerrcode.IsOperatorIntervention(pgErr.Code)
}
