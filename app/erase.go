package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
)

type eraseCommand struct {
	listSettings
	SignatureRequest []string `sep:"none" placeholder:"ID" help:"These signature requests. Repeat the flag for each."`
	Email            string   `placeholder:"ADDRESS" help:"Every signature request that mentions this address."`
	Reason           string   `help:"Reason for the erasure. It is stored with it, so do not name a person in it."`
	actorSettings
	DryRun bool `help:"Count the rows that would be erased, and change nothing."`
}

const (
	// eraseTimeout bounds the wait for jobs that are running on the events to
	// erase.
	eraseTimeout = time.Minute

	// erasePoll is the time between two attempts to finish an erasure.
	erasePoll = 200 * time.Millisecond
)

func (c *eraseCommand) Run(ctx context.Context, std streams) error {
	subject := erasure.Subject{SignatureRequestIDs: c.SignatureRequest, Email: strings.TrimSpace(c.Email)}
	if err := subject.Validate(); err != nil {
		return advice.Usage(err.Error(), "give --signature-request or --email; --dry-run counts what would be erased")
	}
	if !c.DryRun {
		if err := checkReason(c.Reason, "give --reason: an erasure cannot be undone; or see the plan first with --dry-run"); err != nil {
			return err
		}
	}
	w, closeWindow, err := c.openWindowAs(ctx, c.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	plan, err := w.PlanErasure(ctx, subject, searchProgress(std.err))
	if errors.Is(err, store.ErrNotFound) {
		return advice.Usage(err.Error(), "\"events list\" shows the signature requests of the newest events")
	}
	if err != nil {
		return err
	}
	planned := change{
		empty: plan.Empty() && !c.DryRun, // a dry run shows an empty plan too
		apply: func() error { return c.erase(ctx, std, w, plan) },
	}
	switch {
	case c.DryRun:
		planned.dryRun = func() error {
			return c.print(std, plan, "WOULD BE ERASED", plan.Counts, plan.SignatureRequests, "dry run: nothing changed")
		}
	case planned.empty:
		planned.show = func() error {
			return c.print(std, plan, "ERASED", erasure.Counts{}, 0, "nothing to erase: "+emptyReason(plan))
		}
	}
	return planned.carryOut()
}

// searchProgress returns a function that prints how far a search has come, every few
// seconds. A short search prints nothing.
func searchProgress(w io.Writer) func(searched, last int64) {
	const every = 5 * time.Second
	printed := time.Now()
	return func(searched, last int64) {
		if time.Since(printed) >= every {
			printed = time.Now()
			fmt.Fprintf(w, "%s: searched the bodies of events up to %d of %d\n", programName(), searched, last)
		}
	}
}

// erase orders the erasure, carries it out and reports what was erased.
func (c *eraseCommand) erase(ctx context.Context, std streams, w operatorWindow, plan erasure.Plan) error {
	plan.Token = newToken()
	id, err := surely(ctx, w, func() (int64, error) { return w.Erase(ctx, plan, c.Reason) })
	if id == 0 && err != nil {
		return unsure(err, "%s shows whether the erasure is ordered; a second one does no harm", c.orders())
	}
	var order erasure.Order
	if err == nil {
		order, err = awaitErasure(ctx, w, id)
	}
	if ctx.Err() != nil && err != nil {
		return advice.Add(fmt.Errorf("interrupted; erasure %d is ordered", id), "a running worker continues it: %s", c.progress(id))
	}
	if err != nil {
		return advice.Add(err, "erasure %d is ordered, and a running worker continues it: %s", id, c.progress(id))
	}
	last := fmt.Sprintf("erasure %d is finished", id)
	if order.FinishedAt == nil {
		last = fmt.Sprintf("erasure %d is not finished", id)
	}
	if c.json() {
		err = printJSON(std.out, order)
	} else {
		err = c.print(std, plan, "ERASED", order.Counts, plan.SignatureRequests, last)
	}
	if order.FinishedAt != nil || err != nil {
		return err
	}
	if order.FilesLeft > 0 {
		return advice.Add(fmt.Errorf("erasure %d waits for %d archived files to be removed", id, order.FilesLeft),
			"a running worker whose ARCHIVE_URL is their bucket removes them within two minutes: check finished_at with %s", c.progress(id))
	}
	return advice.Add(fmt.Errorf("erasure %d waits for jobs that are running on its events", id),
		"a running worker finishes it: check finished_at with %s", c.progress(id))
}

// orders is what shows which erasures are ordered.
func (c *eraseCommand) orders() string {
	if c.remote() {
		return fmt.Sprintf("\"audit-log --action erase --server %s\"", c.Server)
	}
	return "the newest row of lumin.erasures"
}

// progress is the request or the statement that shows how far an erasure has come.
func (c *eraseCommand) progress(id int64) string {
	if c.remote() {
		return fmt.Sprintf("GET %s/api/v1/erasures/%d", strings.TrimSuffix(c.Server, "/"), id)
	}
	return fmt.Sprintf("SELECT * FROM lumin.erasures WHERE id = %d", id)
}

// awaitErasure carries out an erasure until it is finished, or until running
// jobs have held it up for eraseTimeout.
func awaitErasure(ctx context.Context, w operatorWindow, id int64) (erasure.Order, error) {
	for start := time.Now(); ; {
		order, err := w.CarryOutErasure(ctx, id)
		if err != nil || order.FinishedAt != nil || time.Since(start) > eraseTimeout {
			return order, err
		}
		select {
		case <-ctx.Done():
			return order, ctx.Err()
		case <-time.After(erasePoll):
		}
	}
}

// emptyReason returns why there is nothing to erase.
func emptyReason(plan erasure.Plan) string {
	if plan.Events == 0 {
		return "no stored data mentions it"
	}
	return "only the identity of these events is left"
}

func (c *eraseCommand) print(std streams, plan erasure.Plan, heading string, e erasure.Counts, requests int64, last string) error {
	if c.json() {
		return printJSON(std.out, plan)
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	table(std.out, []string{heading, ""}, [][]string{
		{"signature requests, as far as they are known", count(int64(len(plan.SignatureRequestIDs)))},
		{"events of these, whose identity stays", count(plan.Events)},
		{"bodies", count(e.Bodies)},
		{"bodies of redeliveries", count(e.Redeliveries)},
		{"runs and failures with error texts", count(e.Errors)},
		{"unfinished, failed and dismissed runs, which are cancelled", count(e.RunsCancelled)},
		{"archived files", count(e.Files)},
		{"rows of lumin.signature_requests", count(requests)},
	})
	_, err := fmt.Fprintln(std.out, last)
	return err
}
