package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
)

type eraseCommand struct {
	databaseSettings
	outputSettings
	SignatureRequest []string `sep:"none" placeholder:"ID" help:"These signature requests. Repeat the flag for each."`
	Email            string   `placeholder:"ADDRESS" help:"Every signature request that mentions this address."`
	Reason           string   `help:"Reason for the erasure. It is stored with it, so do not name a person in it."`
	By               string   `placeholder:"WHO" help:"Who erases. By default the user and host of this program."`
	DryRun           bool     `help:"Count the rows that would be erased, and change nothing."`
}

// How long the command waits for jobs that are at work on what is to be erased,
// and how often it looks.
const (
	erasePatience = time.Minute
	erasePoll     = 200 * time.Millisecond
)

// Run implements the command.
func (c *eraseCommand) Run(ctx context.Context, std streams) error {
	subject := erasure.Subject{SignatureRequestIDs: c.SignatureRequest, Email: strings.TrimSpace(c.Email)}
	if err := subject.Validate(); err != nil {
		return usage(err.Error(), "give --signature-request or --email; --dry-run counts what would go")
	}
	if strings.TrimSpace(c.Reason) == "" && !c.DryRun {
		return usage("no reason is given, and what is erased does not come back", "say why with --reason, or look first with --dry-run")
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	plan, err := erasure.NewPlan(ctx, st.Pool(), subject)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return usage(err.Error(), "\"events list\" shows the signature requests of the newest events")
	case err != nil:
		return err
	case c.DryRun:
		return c.print(std, plan, "WOULD BE ERASED", plan.Counts, plan.SignatureRequests, "dry run: nothing changed")
	case plan.Empty():
		return c.print(std, plan, "ERASED", erasure.Counts{}, 0, "nothing to erase: "+emptyReason(plan))
	}
	id, err := plan.Order(ctx, st.Pool(), c.Reason, cmp.Or(c.By, currentActor()))
	if err != nil {
		return err
	}
	order, err := awaitErasure(ctx, st.Pool(), id)
	if err != nil {
		return hint(err, "erasure %d is ordered, and a running worker carries it on: SELECT * FROM lumin.erasures WHERE id = %d", id, id)
	}
	if c.Output == "json" {
		err = printJSON(std.out, order)
	} else {
		err = c.print(std, plan, "ERASED", order.Counts, plan.SignatureRequests, fmt.Sprintf("erasure %d is finished", id))
	}
	if order.FinishedAt != nil || err != nil {
		return err
	}
	if order.FilesLeft > 0 {
		return hint(fmt.Errorf("erasure %d waits for %d archived files to be removed", id, order.FilesLeft),
			"a running worker that has their bucket in ARCHIVE_URL does it within a minute or two: look at finished_at with SELECT * FROM lumin.erasures WHERE id = %d", id)
	}
	return hint(fmt.Errorf("erasure %d waits for jobs that are at work on its events", id),
		"a running worker finishes it: look at finished_at with SELECT * FROM lumin.erasures WHERE id = %d", id)
}

// awaitErasure carries the order out until it is finished, or jobs take too long.
func awaitErasure(ctx context.Context, pool *pgxpool.Pool, id int64) (erasure.Order, error) {
	for start := time.Now(); ; {
		order, err := erasure.CarryOut(ctx, pool, id)
		if err != nil || order.FinishedAt != nil || time.Since(start) > erasePatience {
			return order, err
		}
		select {
		case <-ctx.Done():
			return order, ctx.Err()
		case <-time.After(erasePoll):
		}
	}
}

func emptyReason(plan erasure.Plan) string {
	if plan.Events == 0 {
		return "nothing that is kept mentions it"
	}
	return "of these events only their identity is left"
}

func (c *eraseCommand) print(std streams, plan erasure.Plan, heading string, e erasure.Counts, requests int64, last string) error {
	if c.Output == "json" {
		return printJSON(std.out, plan)
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	table(std.out, []string{heading, ""}, [][]string{
		{"signature requests, as far as they are known", count(int64(len(plan.SignatureRequestIDs)))},
		{"events of these, whose identity stays", count(plan.Events)},
		{"bodies", count(e.Bodies)},
		{"bodies of redeliveries", count(e.Redeliveries)},
		{"runs and failures with error texts", count(e.Errors)},
		{"pending, failed and dismissed runs, which are cancelled", count(e.RunsCancelled)},
		{"archived files", count(e.Files)},
		{"rows of lumin.signature_requests", count(requests)},
	})
	_, err := fmt.Fprintln(std.out, last)
	return err
}
