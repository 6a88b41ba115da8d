package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

type eventsShowCommand struct {
	listSettings
	Event string `arg:"" optional:"" help:"The event's id, its event key, or its signature request."`
	Job   int64  `placeholder:"ID" help:"Show the event of this job instead."`
}

func (c *eventsShowCommand) Run(ctx context.Context, std streams) error {
	switch {
	case c.Event == "" && c.Job == 0:
		return advice.Usage("no event is named", "give an event id, an event key, a signature request, or --job with the id of a job")
	case c.Event != "" && c.Job != 0:
		return advice.Usage("an event and a job are named", "give only one of the two")
	}
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	events, err := c.find(ctx, w)
	if err != nil {
		return err
	}
	if len(events) > 1 && !c.json() {
		eventListing().table(std.out, events)
		fmt.Fprintf(std.out, "\n%d events match: \"events show ID\" shows one of them\n", len(events))
		return nil
	}
	for _, e := range events {
		details, err := w.Event(ctx, e.ID)
		if err != nil {
			return noSuchEvent(err)
		}
		if !c.json() {
			printEvent(std.out, details)
		} else if err := printJSON(std.out, details); err != nil {
			return err
		}
	}
	return nil
}

// find returns the named events, at least one if there is no error. A number is
// the id of an event. If no event has that id, the number is a signature
// request, and so is any other text that is not an event key.
func (c *eventsShowCommand) find(ctx context.Context, w operatorWindow) ([]store.EventSummary, error) {
	if c.Job != 0 {
		events, err := w.EventsByJob(ctx, c.Job)
		switch {
		case errors.Is(err, store.ErrNotFound) && c.remote():
			return nil, advice.Usage(err.Error(), "the queue does not have the job, and a server does not search all runs for it: use DATABASE_URL instead of --server")
		case errors.Is(err, store.ErrNotFound):
			return nil, advice.Usage(err.Error(), "the job is not in the queue and not in a run; a run keeps only the id of its last job")
		case errors.Is(err, store.ErrNoRun):
			return nil, advice.Usage(err.Error(), "follow-up jobs and the program's own jobs do not belong to one event")
		}
		return events, err
	}
	if key, err := lumin.ParseEventKey(c.Event); err == nil {
		events, err := w.EventsByKey(ctx, key)
		if err == nil && len(events) == 0 {
			err = advice.Usage(fmt.Sprintf("no event with the event key %s is stored", key), "\"events list\" shows the stored events")
		}
		return events, err
	}
	id, notNumber := strconv.ParseInt(c.Event, 10, 64)
	if notNumber == nil {
		e, err := w.Event(ctx, id)
		if !errors.Is(err, store.ErrNotFound) {
			return []store.EventSummary{e.EventSummary}, err
		}
	}
	events, err := allEvents(ctx, w, store.EventFilter{SignatureRequestID: c.Event, OldestFirst: true})
	if err != nil {
		return nil, err
	}
	switch {
	case len(events) > 0:
		return events, nil
	case notNumber == nil:
		return nil, advice.Usage(fmt.Sprintf("event %d: %v", id, store.ErrNotFound), "\"events list\" shows the ids; if it is a job's, use \"events show --job %d\"", id)
	}
	return nil, advice.Usage(fmt.Sprintf("no event of signature request %q is stored", c.Event), "\"events list\" shows the ids")
}

// printEvent prints everything about one event except its body.
func printEvent(w io.Writer, e store.EventDetails) {
	payload := "this role may not read it"
	switch {
	case e.PayloadRemovedAt != nil:
		payload = "removed " + timeCell(e.PayloadRemovedAt)
	case e.PayloadSize != nil:
		payload = fmt.Sprintf("%d bytes (events payload %d)", *e.PayloadSize, e.ID)
	}
	facts := [][]string{
		{"event key", e.Key}, {"source", e.Source}, {"event type", textCell(e.EventType)},
		{"signature request", textCell(e.SignatureRequestID)}, {"event time", timeCell(e.EventTime)},
		{"received", timeCell(&e.ReceivedAt)}, {"payload", payload}, {"signed with key", e.KeyID},
	}
	if e.KeyID == "" {
		facts[len(facts)-1][1] = "none: it was recovered, so Lumin has not signed it"
	}
	if e.Late {
		facts = append(facts, []string{"late", "too old when it arrived, so it was stored without runs"})
	}
	if e.PromotedFrom != nil {
		facts = append(facts, []string{"promoted from", strconv.FormatInt(*e.PromotedFrom, 10)})
	}
	table(w, []string{"EVENT", strconv.FormatInt(e.ID, 10)}, facts)
	var rows [][]string
	for _, d := range e.Repeated {
		differs := d.Differs
		if differs == "recovered" {
			differs = "it is the original"
		}
		rows = append(rows, []string{differs, strconv.FormatInt(d.Count, 10), timeCell(&d.FirstAt), timeCell(&d.LastAt)})
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		table(w, []string{"REDELIVERY DIFFERS IN", "COUNT", "FIRST", "LAST"}, rows)
	}
	rows = nil
	for _, r := range e.RunsByKind {
		message := ""
		if r.Error != nil {
			message = errorCell(*r.Error)
		}
		rows = append(rows, []string{r.Kind, stateCell(r), strconv.Itoa(r.Attempts), strconv.FormatInt(r.ReplayID, 10), timeCell(r.FinishedAt), message})
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		table(w, []string{"RUN OF", "STATE", "ATTEMPTS", "REPLAY", "FINISHED", "ERROR"}, rows, "ERROR")
	}
}

// stateCell returns the state of a run. A replayed run that has not succeeded
// may have taken effect before the replay.
func stateCell(r store.Run) string {
	if r.SucceededBefore && r.State != "succeeded" {
		return r.State + ", had succeeded before"
	}
	return r.State
}
