package app

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"lumin-ingest/store"
)

type eventsCommand struct {
	List    eventsListCommand    `cmd:"" help:"List events, the newest first."`
	Tail    eventsTailCommand    `cmd:"" help:"Show the newest events last. With -f, also each new event as it is recorded."`
	Show    eventsShowCommand    `cmd:"" help:"Show one event, its redeliveries and its runs."`
	Payload eventsPayloadCommand `cmd:"" help:"Print the exact bytes that were signed."`
}

type outputSettings struct {
	Output string `default:"table" enum:"table,json" help:"table, or json: one object a line."`
}

type eventsListCommand struct {
	databaseSettings
	outputSettings
	Source           string `help:"Only of this source: account or app:NAME."`
	EventType        string `placeholder:"TYPE" help:"Only of this event type, such as signature_request_approved or approved for short."`
	SignatureRequest string `placeholder:"ID" help:"Only of this signature request."`
	Unrecognized     bool   `help:"Only unrecognized events: they have no usable identity, so no job type gets them."`
	timeRange
	Before      *int64 `placeholder:"ID" help:"Only events older than this one: the next page."`
	After       *int64 `placeholder:"ID" help:"Only events newer than this one: the next page with --oldest-first."`
	OldestFirst bool   `help:"Show the oldest first."`
	Payload     bool   `help:"Add the exact body in base64, its signature and key id. Needs --output=json. Bodies hold personal data."`
	Limit       *int   `placeholder:"N" help:"Show at most N. By default 50 in a table, and all as json."`
}

// Run implements the command.
func (c *eventsListCommand) Run(ctx context.Context, std streams) error {
	if c.Limit != nil && *c.Limit < 1 {
		return usage(fmt.Sprintf("--limit is %d", *c.Limit), "give 1 or more")
	}
	if c.Payload && c.Output != "json" {
		return usage("--payload does not fit into a table", "add --output json, or see \"events payload\"")
	}
	if err := c.check(); err != nil {
		return err
	}
	if c.Source != "" {
		if err := checkSource(c.Source); err != nil {
			return err
		}
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	source, eventType, err := checkEventNames(ctx, st, c.Source, c.EventType)
	if err != nil {
		return err
	}
	filter := store.EventFilter{
		Source: source, EventType: eventType, SignatureRequestID: c.SignatureRequest, Unrecognized: c.Unrecognized,
		ReceivedSince: c.Since.at, ReceivedUntil: c.Until.at, OldestFirst: c.OldestFirst, Bodies: c.Payload,
	}
	for id, position := range map[*int64]*store.EventPosition{c.Before: &filter.Before, c.After: &filter.After} {
		if id == nil {
			continue
		}
		e, err := st.ShowEvent(ctx, *id)
		if err != nil {
			return noSuchEvent(err)
		}
		*position = e.Position()
	}
	if c.Limit != nil {
		filter.Limit = *c.Limit
	}
	if c.Output == "json" {
		return exportEvents(ctx, st, std, filter)
	}
	filter.Limit = cmp.Or(filter.Limit, 50)
	events, err := st.ListEvents(ctx, filter)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		fmt.Fprintln(std.out, "no events")
		return nil
	}
	printEvents(std.out, events)
	return nil
}

func printEvents(w io.Writer, events []store.EventSummary) {
	rows := make([][]string, len(events))
	for i, e := range events {
		rows[i] = eventCells(e)
	}
	table(w, eventHeadings(), rows, "SIGNATURE REQUEST", "RUNS")
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
		strconv.FormatInt(e.Redeliveries, 10), e.Runs.String(),
	}
}

// exportEvents prints an object a line, however many there are.
func exportEvents(ctx context.Context, st *store.Store, std streams, filter store.EventFilter) error {
	out := bufio.NewWriterSize(std.out, 1<<16)
	for e, err := range st.Events(ctx, filter) {
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
	databaseSettings
	ID int64 `arg:"" help:"The event's id."`
}

// Run implements the command.
func (c *eventsPayloadCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	payload, err := st.Payload(ctx, c.ID)
	if err != nil {
		return noSuchEvent(err)
	}
	_, err = std.out.Write(payload)
	return err
}

func noSuchEvent(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return usage(err.Error(), "\"events list\" shows the ids")
	case errors.Is(err, store.ErrPayloadRemoved):
		return hint(err, "\"events show\" tells when; it cannot be had back")
	}
	return err
}
