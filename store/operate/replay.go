package operate

import (
	"context"
	"strings"

	"lumin-ingest/store/replay"
)

// ordered is the subject of a replay.
type ordered struct {
	replay.Filter
	Rate int `json:"rate"`
}

// changed is the result of a change to runs or jobs.
type changed struct {
	Runs int64 `json:"runs"`
}

// Replay places an order and returns its id. A running worker carries it out. The
// order is stored with its reason and with the name of the actor.
func (o *Operator) Replay(ctx context.Context, by Actor, n replay.NewOrder) (id int64, err error) {
	if err := n.Validate(); err != nil {
		return 0, err
	}
	n.OrderedBy = by.Name
	err = o.once(ctx, by, Change{ActionReplay, ordered{n.Filter, n.Rate}, n.Reason}, func(ctx context.Context) (any, error) {
		id, err = o.replays.Place(ctx, n)
		return map[string]int64{"replay": id}, err
	})
	return id, err
}

// CancelReplay ends an order; see [replay.Store.Cancel], which also has the errors.
func (o *Operator) CancelReplay(ctx context.Context, by Actor, id int64, reason string) error {
	return o.once(ctx, by, Change{ActionCancelReplay, map[string]int64{"replay": id}, reason}, func(ctx context.Context) (any, error) {
		return nil, o.replays.Cancel(ctx, id)
	})
}

// Dismiss removes the failed runs that match from the list of failures; see
// [replay.Store.Dismiss]. It returns how many, even with an error. The error is
// [ErrNoReason] without a reason.
func (o *Operator) Dismiss(ctx context.Context, by Actor, f replay.Filter, reason string) (runs int64, err error) {
	if strings.TrimSpace(reason) == "" {
		return 0, ErrNoReason
	}
	return o.changeRuns(ctx, by, Change{ActionDismiss, f, reason}, func(ctx context.Context) (int64, error) {
		return o.replays.Dismiss(ctx, f, reason, by.Name)
	})
}

// Restore makes dismissed runs that match failed again; see
// [replay.Store.Restore]. It returns how many, even with an error.
func (o *Operator) Restore(ctx context.Context, by Actor, f replay.Filter, reason string) (runs int64, err error) {
	return o.changeRuns(ctx, by, Change{ActionRestore, f, reason}, func(ctx context.Context) (int64, error) {
		return o.replays.Restore(ctx, f)
	})
}

// CancelRuns cancels the retrying runs that match; see
// [replay.Store.CancelRetrying]. It returns how many, even with an error.
func (o *Operator) CancelRuns(ctx context.Context, by Actor, f replay.Filter, reason string) (runs int64, err error) {
	return o.changeRuns(ctx, by, Change{ActionCancelRuns, f, reason}, func(ctx context.Context) (int64, error) {
		return o.replays.CancelRetrying(ctx, f)
	})
}

func (o *Operator) changeRuns(ctx context.Context, by Actor, c Change, change func(context.Context) (int64, error)) (runs int64, err error) {
	if f, ok := c.Subject.(replay.Filter); ok {
		if err := f.Validate(); err != nil {
			return 0, err
		}
	}
	err = o.Do(ctx, by, c, func(ctx context.Context) (any, error) {
		if runs, err = change(ctx); runs == 0 {
			err = inDoubt(err)
		}
		return changed{runs}, err
	})
	return runs, err
}
