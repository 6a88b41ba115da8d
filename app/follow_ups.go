package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store/failures"
)

type followUpsCommand struct {
	List  followUpsListCommand  `cmd:"" help:"List follow-up jobs that have failed for good, the newest first."`
	Retry followUpsRetryCommand `cmd:"" help:"Put follow-up jobs that have failed for good back into the queue, with a full set of attempts."`
}

type followUpsListCommand struct {
	listSettings
	Kind  []string `help:"Only of these kinds."`
	Limit int      `default:"20" help:"Show at most this many."`
}

func (c *followUpsListCommand) Run(ctx context.Context, std streams) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	return list(ctx, std, c.listSettings, followUpListing(), func(w operatorWindow) ([]failures.FollowUp, error) {
		if err := checkFollowUpKinds(ctx, w, c.Kind); err != nil {
			return nil, err
		}
		return w.FollowUps(ctx, c.Kind, c.Limit)
	})
}

func followUpListing() listing[failures.FollowUp] {
	return listing[failures.FollowUp]{
		empty:    "no failed follow-up jobs",
		headings: []string{"JOB", "KIND", "QUEUE", "ATTEMPTS", "FAILED", "ERROR"},
		cells: func(f failures.FollowUp) []string {
			return []string{
				strconv.FormatInt(f.JobID, 10), f.Kind, f.Queue, strconv.Itoa(f.Attempts), timeCell(&f.FailedAt), errorCell(f.Error),
			}
		},
	}
}

type followUpsRetryCommand struct {
	windowSettings
	Kind []string `help:"Only of these kinds."`
	Job  []int64  `placeholder:"ID" help:"Only these jobs."`
	All  bool     `help:"All follow-up jobs that have failed for good."`

	Reason string `help:"Why. It is stored in the audit log, so do not name a person in it."`
	actorSettings
}

func (c *followUpsRetryCommand) Run(ctx context.Context, std streams) error {
	if c.All == (len(c.Kind)+len(c.Job) > 0) {
		return advice.Usage("no filter chooses the follow-up jobs to retry", "give --kind, --job or both; or --all alone")
	}
	w, closeWindow, err := c.openWindowAs(ctx, c.actorSettings)
	if err != nil {
		return err
	}
	defer closeWindow()
	if err := checkFollowUpKinds(ctx, w, c.Kind); err != nil {
		return err
	}
	filter := failures.FollowUpFilter{Kinds: c.Kind, JobIDs: c.Job}
	now, err := w.Now(ctx)
	if err != nil {
		return err
	}
	if !now.IsZero() { // an order that is sent again leaves out jobs that have failed again meanwhile
		filter.AsOf = &now
	}
	n, err := w.RetryFollowUps(ctx, filter, c.Reason)
	if err != nil {
		return unsure(err, "\"follow-ups\" lists the jobs that are left")
	}
	defer noteRepeated(std.out, w, n)
	if n == 0 {
		fmt.Fprintln(std.out, "nothing to retry: no failed follow-up job matches")
		return nil
	}
	jobs := "follow-up jobs"
	if n == 1 {
		jobs = "follow-up job"
	}
	fmt.Fprintf(std.out, "%d %s put back into the queue; a running worker takes them\n", n, jobs)
	return nil
}

// checkFollowUpKinds refuses kinds that no program has ever registered.
func checkFollowUpKinds(ctx context.Context, w operatorWindow, kinds []string) error {
	if len(kinds) == 0 {
		return nil
	}
	known, err := w.FollowUpKinds(ctx)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		if !slices.Contains(known, kind) {
			remedy := "no program has registered any"
			if len(known) > 0 {
				remedy = didYouMean(kind, known)
			}
			return advice.Usage(fmt.Sprintf("no follow-up job of kind %q has ever been registered in this database", kind), "%s", remedy)
		}
	}
	return nil
}
