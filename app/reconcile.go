package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/worker/jobs/reconcile"
)

type reconcileCommand struct {
	databaseSettings
	luminSettings
	outputSettings
	Repair bool    `help:"Repair the differences in lumin.signature_requests."`
	Gone   bool    `help:"Mark signature requests as gone even if Lumin knows none of them. A wrong key or URL gives the same answer."`
	Rate   float64 `default:"1.5" help:"At most this many requests to Lumin per second. Lumin publishes no limit; a draft of its documentation had 3,000 in 30 minutes."`
}

func (c *reconcileCommand) Run(ctx context.Context, std streams) error {
	if err := checkRate(c.Rate); err != nil {
		return err
	}
	client, _, err := c.client()
	if err != nil {
		return err
	}
	if client == nil {
		return advice.Usage("no key for Lumin's API is given", "set LUMIN_API_KEY to a key of the workspace")
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	reconciler := &reconcile.Reconciler{Store: st, Lumin: client, Repair: c.Repair, Gone: c.Gone, Rate: c.Rate, Report: func(d reconcile.Difference) {
		if c.json() {
			_ = printJSON(std.out, d)
		} else {
			fmt.Fprintln(std.out, printable(differenceLine(d)))
		}
	}}
	sum, err := reconciler.Run(ctx, time.Now())
	if c.json() {
		_ = printJSON(std.out, sum)
	} else {
		fmt.Fprintln(std.out, summaryLine(sum))
	}
	switch {
	case err != nil:
		return explainPass(err, c.LuminAPIURL, "reconcile")
	case sum.Settled():
		return nil
	case sum.Failed > 0:
		return advice.Add(fmt.Errorf("%d signature requests got no usable answer; the first one: %s", sum.Failed, sum.Cause), "run reconcile again: it requests these first")
	}
	return advice.Add(fmt.Errorf("%d signature requests differ", sum.Differ-sum.Repaired), "--repair stores the state that Lumin reports")
}

func differenceLine(d reconcile.Difference) string {
	line := d.SignatureRequestID + ": " + d.Field
	switch {
	case d.Field == "signature_request":
		return d.SignatureRequestID + ": gone at Lumin, marked as gone"
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

func summaryLine(sum reconcile.Summary) string {
	if sum == (reconcile.Summary{}) {
		return "nothing to reconcile: lumin.signature_requests has no open signature request"
	}
	parts := []string{fmt.Sprintf("%d signature requests checked", sum.Checked), fmt.Sprintf("%d differ", sum.Differ)}
	for _, p := range []struct {
		n    int
		what string
	}{{sum.Repaired, "repaired"}, {sum.Gone, "gone at Lumin"}, {sum.Unknown, "not known to Lumin"}, {sum.Failed, "not answered"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}
