package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/worker/jobs"
)

type reconcileCommand struct {
	databaseSettings
	luminSettings
	outputSettings
	Repair bool `help:"Repair what differs, in lumin.signature_requests."`
	Rate   int  `default:"5" help:"At most so many requests to Lumin a second."`
}

// Run implements the command.
func (c *reconcileCommand) Run(ctx context.Context, std streams) error {
	if c.Rate < 1 {
		return usage(fmt.Sprintf("--rate is %d", c.Rate), "give 1 or more requests a second")
	}
	client, _, err := c.client()
	if err != nil {
		return err
	}
	if client == nil {
		return usage("no key for Lumin's API is given", "set LUMIN_API_KEY to a key of the workspace")
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	reconcile := &jobs.Reconcile{Store: st, Lumin: client, Repair: c.Repair, Rate: c.Rate, Report: func(d jobs.Difference) {
		if c.Output == "json" {
			_ = printJSON(std.out, d)
		} else {
			fmt.Fprintln(std.out, printable(differenceLine(d)))
		}
	}}
	sum, err := reconcile.Run(ctx, time.Now())
	if c.Output == "json" {
		_ = printJSON(std.out, sum)
	} else {
		fmt.Fprintln(std.out, summaryLine(sum))
	}
	switch {
	case err != nil:
		return hint(err, "what was not asked for is asked for first the next time")
	case sum.Settled():
		return nil
	case sum.Differ > sum.Repaired:
		return hint(fmt.Errorf("%d signature requests differ", sum.Differ-sum.Repaired), "--repair takes over what Lumin tells")
	}
	return hint(fmt.Errorf("%d signature requests are not known to Lumin, and %d could not be asked for", sum.Unknown, sum.Failed),
		"Lumin does not know those of another workspace or those deleted there; the others are asked for again the next time")
}

func differenceLine(d jobs.Difference) string {
	line := d.SignatureRequestID + ": " + d.Field
	switch {
	case d.Field == "signature_request":
		return d.SignatureRequestID + ": Lumin does not know it"
	case d.Ours == "" && d.Lumins == "":
		line += " differs"
	case d.Ours == "":
		line += " is not known here, and " + d.Lumins + " at Lumin"
	default:
		line += " is " + d.Ours + " here, and " + d.Lumins + " at Lumin"
	}
	if d.Repaired {
		line += ": repaired"
	}
	return line
}

func summaryLine(sum jobs.Reconciliation) string {
	if sum == (jobs.Reconciliation{}) {
		return "nothing to reconcile: lumin.signature_requests has none that is not over"
	}
	parts := []string{fmt.Sprintf("%d signature requests checked", sum.Checked), fmt.Sprintf("%d differ", sum.Differ)}
	for _, p := range []struct {
		n    int
		what string
	}{{sum.Repaired, "repaired"}, {sum.Unknown, "not known to Lumin"}, {sum.Failed, "not answered"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}
