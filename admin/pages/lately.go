package pages

import (
	"context"
	"time"

	"lumin-ingest/store/history"
)

// refusedLately is how recent a delivery that was not recorded must be for the verdict
// to name it. Lumin repeats such deliveries, so an older one says little about now.
const refusedLately = 10 * time.Minute

// lately are the deliveries of the last hour, by minute.
type lately struct {
	At     time.Time // the end of that hour, by the database's clock
	Points []history.DeliveryPoint
}

// readLately reads the deliveries of the last hour.
func (p *Pages) readLately(ctx context.Context) (l lately, err error) {
	if l.At, err = p.cfg.Store.Now(ctx); err != nil {
		return l, err
	}
	l.Points, err = history.Deliveries(ctx, p.cfg.Store.Pool(), history.LastHour(l.At), "")
	return l, err
}

// deliveryFindings names deliveries that no job type got: those that were not
// recorded, and those without an identity.
func deliveryFindings(f facts) (found []finding) {
	var unavailable int64
	for _, point := range f.Lately.Points {
		if point.Result == "unavailable" && f.Lately.At.Sub(point.At) <= refusedLately {
			unavailable += point.Deliveries
		}
	}
	if unavailable > 0 {
		found = append(found, finding{"warn",
			plural(unavailable, "delivery was", "deliveries were") + " not recorded in the last 10 minutes: the program answered with an error of its own. Lumin repeats them. Check the database, then the log.",
			link{"Show the readiness checks", "/readyz"}})
	}
	if unrecognized := history.Unrecognized(f.Lately.Points); unrecognized > 0 {
		found = append(found, finding{"warn",
			plural(unrecognized, "delivery", "deliveries") + " of the last hour had no usable identity, so no job type got them. Look at a body: Lumin may have changed its form.",
			link{"Show the unrecognized events", "/unrecognized"}})
	}
	return found
}
