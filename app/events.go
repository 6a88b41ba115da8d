package app

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
)

type eventsCommand struct {
	List    eventsListCommand    `cmd:"" help:"List events, the newest first."`
	Tail    eventsTailCommand    `cmd:"" help:"Show the newest events last. With -f, also each new event as it is recorded."`
	Show    eventsShowCommand    `cmd:"" help:"Show one event, its redeliveries and its runs."`
	Payload eventsPayloadCommand `cmd:"" help:"Print the exact bytes that were signed."`
	Import  eventsImportCommand  `cmd:"" help:"Import events that \"events list --output json --payload\" has exported from another database."`
}

type eventsListCommand struct {
	listSettings
	eventFilter
	Unrecognized bool `help:"Only unrecognized events: they have no usable identity, so no job type gets them."`
	timeRange
	Before      *int64 `placeholder:"ID" help:"Only events older than this one: the next page."`
	After       *int64 `placeholder:"ID" help:"Only events newer than this one: the next page with --oldest-first."`
	OldestFirst bool   `help:"Show the oldest first."`
	Payload     bool   `help:"Add the exact bodies in base64, also those of redeliveries, with their signatures and key ids, for \"events import\". Needs --output=json. Bodies hold personal data."`
	Limit       *int   `placeholder:"N" help:"Show at most N. By default 50 in a table, and all as json."`
}

func (c *eventsListCommand) Run(ctx context.Context, std streams) error {
	if c.Limit != nil {
		if err := checkLimit(*c.Limit); err != nil {
			return err
		}
	}
	if c.Payload && !c.json() {
		return advice.Usage("--payload does not fit into a table", "add --output json, or see \"events payload\"")
	}
	if c.Payload {
		if err := c.needDatabase("an export with bodies"); err != nil {
			return err
		}
	}
	if err := c.checkTimes(); err != nil {
		return err
	}
	if err := checkSourceFilter(c.Source); err != nil {
		return err
	}
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	filter, err := c.filter(ctx, w)
	if err != nil {
		return err
	}
	if c.json() {
		return exportEvents(ctx, w, std, filter)
	}
	filter.Limit = cmp.Or(filter.Limit, 50)
	events, err := allEvents(ctx, w, filter)
	if err != nil {
		return err
	}
	eventListing().table(std.out, events)
	return nil
}

// filter returns the filter that all flags make.
func (c *eventsListCommand) filter(ctx context.Context, w operatorWindow) (store.EventFilter, error) {
	filter, err := c.resolve(ctx, w)
	if err != nil {
		return filter, err
	}
	filter.Unrecognized, filter.OldestFirst, filter.Bodies = c.Unrecognized, c.OldestFirst, c.Payload
	filter.ReceivedSince, filter.ReceivedUntil = c.Since.at, c.Until.at
	for id, position := range map[*int64]*store.EventPosition{c.Before: &filter.Before, c.After: &filter.After} {
		if id == nil {
			continue
		}
		e, err := w.Event(ctx, *id)
		if err != nil {
			return filter, noSuchEvent(err)
		}
		*position = e.Position()
	}
	if c.Limit != nil {
		filter.Limit = *c.Limit
	}
	return filter, nil
}

func eventListing() listing[store.EventSummary] {
	return listing[store.EventSummary]{
		empty: "no events", headings: eventHeadings(), cells: eventCells, cut: []string{"SIGNATURE REQUEST", "RUNS"},
	}
}

func eventHeadings() []string {
	return []string{"ID", "RECEIVED", "SOURCE", eventTypeHeading, "SIGNATURE REQUEST", "REDELIVERIES", "RUNS"}
}

func eventCells(e store.EventSummary) []string {
	eventType := "unrecognized"
	if e.EventType != nil {
		eventType = *e.EventType
	}
	return []string{
		strconv.FormatInt(e.ID, 10), timeCell(&e.ReceivedAt), e.Source, eventType, textCell(e.SignatureRequestID),
		strconv.FormatInt(e.Redeliveries, 10), eventRunsCell(e),
	}
}

// eventRunsCell returns the runs of an event. The runs of a late event were created
// later, if at all.
func eventRunsCell(e store.EventSummary) string {
	if !e.Late {
		return e.Runs.String()
	}
	return strings.TrimSuffix("late, "+e.Runs.String(), ", ")
}

// allEvents returns the events that match. There must be few: the filter has a limit
// or names a signature request.
func allEvents(ctx context.Context, w operatorWindow, filter store.EventFilter) (events []store.EventSummary, err error) {
	for e, err := range w.Events(ctx, filter) {
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// exportEvents prints one JSON object per line. It reads the events page by
// page, so their number is not limited by memory.
func exportEvents(ctx context.Context, w operatorWindow, std streams, filter store.EventFilter) error {
	out := bufio.NewWriterSize(std.out, 1<<16)
	for e, err := range w.Events(ctx, filter) {
		if err == nil {
			err = printJSON(out, e)
		}
		if err != nil {
			return errors.Join(err, out.Flush())
		}
	}
	return out.Flush()
}

type eventsPayloadCommand struct {
	windowSettings
	ID int64 `arg:"" help:"The event's id."`
}

func (c *eventsPayloadCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	payload, err := w.Payload(ctx, c.ID)
	if err != nil {
		return noSuchEvent(err)
	}
	_, err = std.out.Write(payload)
	return err
}

func noSuchEvent(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return advice.Usage(err.Error(), "\"events list\" shows the ids")
	case errors.Is(err, store.ErrPayloadRemoved):
		return advice.Add(err, "\"events show\" shows when; the body cannot be restored")
	}
	return err
}
