package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
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

// maxReconcileRate is far above any limit that Lumin may have.
const maxReconcileRate = 100

func (c *reconcileCommand) Run(ctx context.Context, std streams) error {
	if !(c.Rate > 0 && c.Rate <= maxReconcileRate) { // NaN is neither
		return advice.Usage(fmt.Sprintf("--rate is %v", c.Rate), "give more than 0 and at most %d requests per second; the default is 1.5", maxReconcileRate)
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
		return c.explain(err)
	case sum.Settled():
		return nil
	case sum.Failed > 0:
		return advice.Add(fmt.Errorf("%d signature requests got no usable answer; the first one: %s", sum.Failed, sum.Cause), "run reconcile again: it requests these first")
	}
	return advice.Add(fmt.Errorf("%d signature requests differ", sum.Differ-sum.Repaired), "--repair stores the state that Lumin reports")
}

// explain adds advice to the error that ended a pass.
func (c *reconcileCommand) explain(err error) error {
	var refused *lumin.APIError
	switch {
	case errors.Is(err, reconcile.ErrAllUnknown):
		return advice.Add(err, "check LUMIN_API_URL, and that LUMIN_API_KEY belongs to the workspace that sends the deliveries; if the signature requests are really gone, --gone marks them")
	case errors.Is(err, lumin.ErrNoAnswer):
		return advice.Add(fmt.Errorf("%s cannot be reached: %w", c.LuminAPIURL, err), "check LUMIN_API_URL, and the DNS, proxy and firewall of this machine; the next pass begins with the signature requests that were not checked")
	case !errors.As(err, &refused):
		return err
	case refused.StatusCode == http.StatusUnauthorized, refused.StatusCode == http.StatusForbidden:
		return advice.Add(err, "set LUMIN_API_KEY to a key of the workspace that is valid for the API at LUMIN_API_URL")
	}
	return advice.Add(err, "run reconcile again later: it begins with the signature requests that were not checked")
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
