package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
)

type conflictsCommand struct {
	List    conflictsListCommand    `cmd:"" help:"List redeliveries whose content differs from the first delivery."`
	Show    conflictsShowCommand    `cmd:"" help:"Show the conflicts of one event: who acted, which body has runs, and the decision."`
	Promote conflictsPromoteCommand `cmd:"" help:"Make the other body of a conflict an event of its own, with runs."`
	Dismiss conflictsDismissCommand `cmd:"" help:"Record that a conflict needs no action."`
}

type conflictsListCommand struct {
	databaseSettings
	outputSettings
	Source           string `help:"Only of this source: account or app:NAME."`
	SignatureRequest string `placeholder:"ID" help:"Only of this signature request."`
	AnotherActor     bool   `help:"Only conflicts whose two bodies name different signers."`
	Undecided        bool   `help:"Only conflicts that are neither promoted nor dismissed."`
	Since            when   `placeholder:"TIME" help:"Only conflicts delivered since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Limit            int    `default:"50" help:"Show at most this many."`
}

// Run implements the command.
func (c *conflictsListCommand) Run(ctx context.Context, std streams) error {
	if c.Limit < 1 {
		return usage(fmt.Sprintf("--limit is %d", c.Limit), "give 1 or more")
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
	conflicts, err := conflict.List(ctx, st.Pool(), conflict.Filter{
		Source: c.Source, SignatureRequestID: c.SignatureRequest, AnotherActor: c.AnotherActor, Undecided: c.Undecided,
		Since: c.Since.at, Limit: c.Limit,
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		for _, row := range conflicts {
			if err := printJSON(std.out, row); err != nil {
				return err
			}
		}
		return nil
	}
	if len(conflicts) == 0 {
		_, err := fmt.Fprintln(std.out, "no conflicts")
		return err
	}
	rows := make([][]string, len(conflicts))
	for i, row := range conflicts {
		rows[i] = []string{
			strconv.FormatInt(row.EventID, 10), bodyCell(row), row.Source, textCell(row.EventType),
			textCell(row.SignatureRequestID), kindOf(row), strconv.FormatInt(row.Count, 10),
			timeCell(&row.LastAt), decisionCell(row),
		}
	}
	table(std.out, []string{"EVENT", "BODY", "SOURCE", "TYPE", "SIGNATURE REQUEST", "CONFLICT", "COUNT", "LAST", "DECISION"}, rows)
	return nil
}

func kindOf(c conflict.Row) string {
	if c.AnotherActor {
		return "another actor"
	}
	return "content"
}

// bodyCell shortens the hash of a body to enough digits to distinguish the bodies
// of one event.
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

// oneConflict holds the flags that name a conflict.
type oneConflict struct {
	databaseSettings
	Event int64  `arg:"" help:"Id of the event that the conflict belongs to."`
	Body  string `placeholder:"HEX" help:"Choose one of several bodies by the first digits of its SHA-256."`
}

// find returns the conflicts that the flags name.
func (c oneConflict) find(ctx context.Context, st *store.Store) ([]conflict.Row, error) {
	all, err := conflict.List(ctx, st.Pool(), conflict.Filter{EventID: c.Event, Limit: 100}) // an event keeps fewer bodies
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, usage(fmt.Sprintf("event %d has no conflict", c.Event), "\"conflicts list\" shows the conflicts")
	}
	var named []conflict.Row
	for _, row := range all {
		if strings.HasPrefix(row.Body, strings.ToLower(c.Body)) {
			named = append(named, row)
		}
	}
	if len(named) == 0 {
		return nil, usage(fmt.Sprintf("event %d has no conflict whose body begins with %q", c.Event, c.Body),
			"\"conflicts show %d\" shows its bodies", c.Event)
	}
	return named, nil
}

type conflictsShowCommand struct {
	oneConflict
	outputSettings
	Reveal bool `help:"Show the signers' addresses in full. They are personal data."`
}

// conflictView is a conflict with the signers that its bodies name.
type conflictView struct {
	conflict.Row
	FirstSigner string `json:"first_signer"`
	OtherSigner string `json:"other_signer"`
	WorkedID    *int64 `json:"worked_event_id"`
}

// Run implements the command.
func (c *conflictsShowCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	conflicts, err := c.find(ctx, st)
	if err != nil {
		return err
	}
	for i, row := range conflicts {
		actors, err := conflict.ActorsOf(ctx, st.Pool(), row)
		if err != nil {
			return err
		}
		shown := conflictView{Row: row, FirstSigner: actors.First, OtherSigner: actors.Other}
		if !c.Reveal {
			shown.FirstSigner, shown.OtherSigner = masked(actors.First), masked(actors.Other)
		}
		if actors.WorkedID != 0 {
			shown.WorkedID = &actors.WorkedID
		}
		if err := c.print(std, i, shown); err != nil {
			return err
		}
	}
	return nil
}

func (c *conflictsShowCommand) print(std streams, i int, s conflictView) error {
	if c.Output == "json" {
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
		{"conflict", kindOf(s.Row)},
		{"signer, first body", cmp.Or(s.FirstSigner, "-")},
		{"signer, other body", cmp.Or(s.OtherSigner, "-")},
		{"event that has the runs", worked},
		{"delivered", fmt.Sprintf("%d times, %s to %s", s.Count, timeCell(&s.FirstAt), timeCell(&s.LastAt))},
		{"decision", decisionCell(s.Row)},
		{"decided", timeCell(s.DecidedAt)},
		{"by", textCell(s.DecidedBy)},
		{"reason", textCell(s.Reason)},
	})
	return nil
}

// masked hides most of an address, and keeps enough to distinguish two signers of
// one signature request.
func masked(address string) string {
	if address == "" {
		return ""
	}
	local, domain, _ := strings.Cut(address, "@")
	first := []rune(local + "*")[0]
	if domain == "" {
		return string(first) + "***"
	}
	return string(first) + "***@" + string([]rune(domain)[0]) + "***"
}

// decision holds the flags that promote and dismiss share.
type decision struct {
	oneConflict
	Reason string `required:"" help:"Reason for the decision. It is stored with the conflict, so do not name a person in it."`
	By     string `placeholder:"WHO" help:"Who decides. By default the user and host of this program."`
}

// one returns the conflict that the flags name, if there is exactly one.
func (d decision) one(ctx context.Context, st *store.Store) (conflict.Row, error) {
	if strings.TrimSpace(d.Reason) == "" {
		return conflict.Row{}, usage("--reason is empty", "give the reason for the decision; it is stored with the conflict")
	}
	conflicts, err := d.find(ctx, st)
	if err != nil {
		return conflict.Row{}, err
	}
	if len(conflicts) > 1 {
		return conflict.Row{}, usage(fmt.Sprintf("event %d has %d conflicts", d.Event, len(conflicts)),
			"name one by --body; \"conflicts show %d\" shows them", d.Event)
	}
	return conflicts[0], nil
}

type conflictsPromoteCommand struct {
	decision
	Yes bool `help:"Confirm: the runs of the new event cannot be undone."`
}

// Run implements the command.
func (c *conflictsPromoteCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	chosen, err := c.one(ctx, st)
	if err != nil {
		return err
	}
	if !c.Yes {
		return usage(fmt.Sprintf("this would make body %s an event of its own, which job types would process", bodyCell(chosen)),
			"compare the two bodies with \"conflicts show %d\", then add --yes", c.Event)
	}
	id, err := conflict.Promote(ctx, st.Pool(), chosen, c.Reason, cmp.Or(c.By, currentActor()))
	if err != nil {
		return refusedDecision(err)
	}
	if chosen.PromotedID != nil {
		_, err = fmt.Fprintf(std.out, "already promoted, as event %d\n", id)
		return err
	}
	_, err = fmt.Fprintf(std.out, "promoted as event %d; a running worker creates its runs\n", id)
	return err
}

type conflictsDismissCommand struct{ decision }

// Run implements the command.
func (c *conflictsDismissCommand) Run(ctx context.Context, std streams) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	chosen, err := c.one(ctx, st)
	if err != nil {
		return err
	}
	if err := conflict.Dismiss(ctx, st.Pool(), chosen, c.Reason, cmp.Or(c.By, currentActor())); err != nil {
		return refusedDecision(err)
	}
	_, err = fmt.Fprintln(std.out, "dismissed")
	return err
}

func refusedDecision(err error) error {
	var refused *conflict.RefusedError
	if errors.As(err, &refused) {
		return usage(refused.Reason, "%s", refused.Hint)
	}
	return err
}
