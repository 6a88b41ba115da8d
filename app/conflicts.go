package app

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store/conflict"
)

type conflictsCommand struct {
	List    conflictsListCommand    `cmd:"" help:"List redeliveries whose content differs from the first delivery."`
	Show    conflictsShowCommand    `cmd:"" help:"Show the conflicts of one event: who acted, which body has runs, and the decision."`
	Promote conflictsPromoteCommand `cmd:"" help:"Make the other body of a conflict an event of its own, with runs."`
	Dismiss conflictsDismissCommand `cmd:"" help:"Record that a conflict needs no action."`
}

type conflictsListCommand struct {
	listSettings
	Source           string `help:"Only of this source: account or app:NAME."`
	SignatureRequest string `placeholder:"ID" help:"Only of this signature request."`
	AnotherActor     bool   `help:"Only conflicts whose two bodies name different signers."`
	Undecided        bool   `help:"Only conflicts that are neither promoted nor dismissed."`
	Since            when   `placeholder:"TIME" help:"Only conflicts delivered since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Limit            int    `default:"50" help:"Show at most this many."`
}

func (c *conflictsListCommand) Run(ctx context.Context, std streams) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	if err := checkSourceFilter(c.Source); err != nil {
		return err
	}
	return list(ctx, std, c.listSettings, conflictListing(), func(w operatorWindow) ([]conflict.Row, error) {
		return w.Conflicts(ctx, conflict.Filter{
			Source: c.Source, SignatureRequestID: c.SignatureRequest, AnotherActor: c.AnotherActor, Undecided: c.Undecided,
			Since: c.Since.at, Limit: c.Limit,
		})
	})
}

func conflictListing() listing[conflict.Row] {
	return listing[conflict.Row]{
		empty:    "no conflicts",
		headings: []string{"EVENT", "BODY", "SOURCE", "TYPE", "SIGNATURE REQUEST", "CONFLICT", "COUNT", "LAST", "DECISION"},
		cells: func(row conflict.Row) []string {
			return []string{
				strconv.FormatInt(row.EventID, 10), bodyCell(row), row.Source, textCell(row.EventType),
				textCell(row.SignatureRequestID), conflictCell(row), strconv.FormatInt(row.Count, 10),
				timeCell(&row.LastAt), decisionCell(row),
			}
		},
	}
}

func conflictCell(c conflict.Row) string {
	if c.AnotherActor {
		return "another actor"
	}
	return "content"
}

// bodyCell shortens the hash of a body to as many digits as are needed to
// distinguish the bodies of one event.
func bodyCell(c conflict.Row) string {
	if c.Body == "" {
		return "not kept"
	}
	return c.Body[:12]
}

func decisionCell(c conflict.Row) string {
	if c.Decision != nil && c.PromotedID != nil {
		return fmt.Sprintf("%s: event %d", *c.Decision, *c.PromotedID)
	}
	return textCell(c.Decision)
}

// conflictSettings name the conflicts of one event.
type conflictSettings struct {
	windowSettings
	Event int64  `arg:"" help:"Id of the event that the conflict belongs to."`
	Body  string `placeholder:"HEX" help:"Choose one of several bodies by the first digits of its SHA-256."`
}

// find returns the conflicts that the flags name.
func (c conflictSettings) find(ctx context.Context, w operatorWindow) ([]conflict.Row, error) {
	all, err := w.Conflicts(ctx, conflict.Filter{EventID: c.Event, Limit: 100}) // an event keeps fewer bodies
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, advice.Usage(fmt.Sprintf("event %d has no conflict", c.Event), "\"conflicts list\" shows the conflicts")
	}
	var named []conflict.Row
	for _, row := range all {
		if strings.HasPrefix(row.Body, strings.ToLower(c.Body)) {
			named = append(named, row)
		}
	}
	if len(named) == 0 {
		return nil, advice.Usage(fmt.Sprintf("event %d has no conflict whose body begins with %q", c.Event, c.Body),
			"\"conflicts show %d\" shows its bodies", c.Event)
	}
	return named, nil
}

type conflictsShowCommand struct {
	conflictSettings
	outputSettings
	Reveal bool `help:"Show the signers' addresses in full. They are personal data."`
}

// conflictView is a conflict with the signers that its bodies name.
type conflictView struct {
	conflict.Row
	window.Signers
}

func (c *conflictsShowCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	conflicts, err := c.find(ctx, w)
	if err != nil {
		return err
	}
	for i, row := range conflicts {
		signers, err := w.Signers(ctx, row, c.Reveal)
		if err != nil {
			return err
		}
		if err := c.print(std, i, conflictView{row, signers}); err != nil {
			return err
		}
	}
	return nil
}

func (c *conflictsShowCommand) print(std streams, i int, s conflictView) error {
	if c.json() {
		return printJSON(std.out, s)
	}
	if i > 0 {
		fmt.Fprintln(std.out)
	}
	worked := "-"
	if s.WorkedID != nil {
		worked = fmt.Sprintf("event %d", *s.WorkedID)
	}
	table(std.out, []string{"EVENT", strconv.FormatInt(s.EventID, 10)}, [][]string{
		{"other body", cmp.Or(s.Body, "not kept")},
		{"source", s.Source},
		{"signature request", textCell(s.SignatureRequestID)},
		{"type", textCell(s.EventType)},
		{"time", timeCell(s.EventTime)},
		{"conflict", conflictCell(s.Row)},
		{"signer, first body", cmp.Or(s.First, "-")},
		{"signer, other body", cmp.Or(s.Other, "-")},
		{"event that has the runs", worked},
		{"delivered", fmt.Sprintf("%d times, %s to %s", s.Count, timeCell(&s.FirstAt), timeCell(&s.LastAt))},
		{"decision", decisionCell(s.Row)},
		{"decided", timeCell(s.DecidedAt)},
		{"by", textCell(s.DecidedBy)},
		{"reason", textCell(s.Reason)},
	})
	return nil
}
