package pages

import (
	"context"
	"time"

	"lumin-ingest/store/history"
)

// refusedLately is how recent a delivery that was not recorded must be for the verdict
// to name it. Lumin repeats such deliveries, so an older one says little about now.
const refusedLately = 10 * time.Minute

// readLately reads the deliveries of the last hour.
func (p *Pages) readLately(ctx context.Context) ([]history.DeliveryPoint, error) {
	return history.Deliveries(ctx, p.cfg.Store.Pool(), history.LastHour(p.cfg.Now()), "")
}

// deliveryFindings names deliveries that no job type got: those that were not
// recorded, and those without an identity.
func deliveryFindings(f facts) (found []finding) {
	var unavailable int64
	for _, point := range f.Lately {
		if point.Result == "unavailable" && f.Now.Sub(point.At) <= refusedLately {
			unavailable += point.Deliveries
		}
	}
	if unavailable > 0 {
		found = append(found, finding{"warn",
			plural(unavailable, "delivery was", "deliveries were") + " not recorded in the last 10 minutes: the program answered with an error of its own. Lumin repeats them. Check the database, then the log.",
			link{"Show the readiness checks", "/readyz"}})
	}
	if unrecognized := history.Unrecognized(f.Lately); unrecognized > 0 {
		found = append(found, finding{"warn",
			plural(unrecognized, "delivery", "deliveries") + " of the last hour had no usable identity, so no job type got them. Look at a body: Lumin may have changed its form.",
			link{"Show the unrecognized events", "/unrecognized"}})
	}
	return found
}
