package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/trace"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/store"
)

var (
	// errMemberEnded ends the context of a batch.
	errMemberEnded = errors.New("the context of an attempt in the batch has ended")

	// errKeepsRunning is the error of a batch whose code ignores its timeout.
	errKeepsRunning = errors.New("the code keeps running after its timeout")

	// errNoClaim is wrapped by the error of a batch for which the database is to
	// blame.
	errNoClaim = errors.New("cannot claim the runs of the batch")
)

// workMembers works members in one call and gives each its verdict. If the call
// fails, workMembers tries them in parts.
func (x *executor) workMembers(members []*member) {
	members = stillOpen(members)
	if len(members) < 2 {
		separate(members)
		return
	}
	members, err := x.workTogether(members)
	if err == nil {
		finish(members, nil)
		return
	}
	all := len(members)
	members = stillOpen(members)
	switch {
	case len(members) < all: // this is what ended the batch
		x.workMembers(members)
	case errors.Is(err, errNoClaim):
		finish(members, err)
	case errors.Is(err, context.DeadlineExceeded):
		// In halves, an event that hangs would cost the others a timeout for
		// each half that it is in.
		x.logBatch("a batch took longer than its timeout: its events are tried alone", all, err)
		separate(members)
	default:
		x.logBatch("a batch failed: its events are tried in halves", all, err)
		x.workMembers(members[:all/2])
		x.workMembers(members[all/2:])
	}
}

func (x *executor) logBatch(message string, size int, err error) {
	x.logger.Info(message, "kind", x.jobType.spec.Kind, "events", size, "error", clean(err).Error())
}

// stillOpen gives members whose context has ended their verdict, and returns the
// others.
func stillOpen(members []*member) []*member {
	return slices.DeleteFunc(slices.Clone(members), func(m *member) bool {
		ended := m.ctx.Err() != nil
		if ended {
			finish([]*member{m}, endedError(m.ctx))
		}
		return ended
	})
}

// workTogether works members in one transaction. It gives a verdict to those
// whose runs cannot be claimed, and returns the others with the error that they
// have in common.
func (x *executor) workTogether(members []*member) (left []*member, err error) {
	ctx, span, cancel := x.batchContext(members)
	defer cancel()
	defer func() { endWith(span, err) }()
	claim, members, events, err := x.claimMembers(ctx, members)
	if err != nil || len(members) == 0 {
		return members, err
	}
	managed := manage(claim.tx)
	running := claim.call(ctx, func() error { return x.jobType.batch.WorkBatch(ctx, managed, events) })
	exposed, maybeReplaced := managed.state.end()
	if claim.overdue {
		x.logger.Error("WorkBatch keeps running after its timeout", "kind", x.jobType.spec.Kind, "events", len(events))
		go func() {
			<-running.done
			claim.release(ctx)
		}()
		return members, errors.Join(errKeepsRunning, context.DeadlineExceeded)
	}
	defer claim.release(ctx)
	if exposed {
		defer claim.conn.Close(context.WithoutCancel(ctx)) // see workTx
	}
	err = running.err
	if err == nil {
		err = x.commitBatch(ctx, claim, members, maybeReplaced)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errors.Join(err, context.DeadlineExceeded)
	}
	return members, err
}

// batchContext returns the context of a batch. It ends after the timeout, or
// when the context of a member ends.
func (x *executor) batchContext(members []*member) (context.Context, trace.Span, context.CancelFunc) {
	// The values of any member will do: they lead to the queue client.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(members[0].ctx))
	for _, m := range members {
		m.unwatch = context.AfterFunc(m.ctx, func() { cancel(errMemberEnded) })
	}
	ctx, stop := context.WithTimeout(ctx, x.jobType.timeout)
	ctx, span := x.startBatch(ctx, members)
	logger := x.logger.With(slog.String("kind", x.jobType.spec.Kind), slog.Int("events", len(members)))
	return jobContext{ctx, x.hidden(), x.tracer.Logger(ctx, logger)}, span, func() {
		for _, m := range members {
			m.unwatch()
		}
		stop()
		cancel(nil)
	}
}

// claimMembers claims the runs of members in one transaction, and gives a
// verdict to those whose runs cannot be claimed. It returns the others with
// their events.
func (x *executor) claimMembers(ctx context.Context, members []*member) (*claim, []*member, []*Event, error) {
	for len(members) > 0 {
		var claims []store.Claim
		c, err := x.begin(ctx, func(conn *pgx.Conn) (tx pgx.Tx, err error) {
			tx, claims, err = x.store.BeginClaims(ctx, conn, attemptsOf(members))
			return tx, err
		})
		if err != nil {
			return nil, members, nil, claimFailure(err)
		}
		claimed, events, gone := sortClaims(members, claims)
		if len(claimed) > 0 && !gone {
			return c, claimed, events, nil
		}
		cleanpool.Mark(c.conn) // no code of users has used it
		c.release(ctx)
		members = claimed
	}
	return nil, nil, nil, nil
}

// sortClaims gives members whose run was not claimed their verdict, and returns
// the others. gone means that a run without an event was claimed.
func sortClaims(members []*member, claims []store.Claim) (claimed []*member, events []*Event, gone bool) {
	for i, c := range claims {
		if c.Reason != nil {
			gone = gone || errors.Is(c.Reason, store.ErrEventGone)
			members[i].unwatch() // its context ends with its attempt, and the batch goes on
			finish(members[i:i+1], claimError(c.Reason))
			continue
		}
		runningJobOf(members[i].ctx).event = (*Event)(c.Event)
		claimed, events = append(claimed, members[i]), append(events, (*Event)(c.Event))
	}
	return claimed, events, gone
}

// claimFailure returns the error of claims that failed. An error of the
// statement can be the fault of one run. Other errors are the fault of none.
func claimFailure(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Severity == "ERROR" {
		return err
	}
	return fmt.Errorf("%w: %w", errNoClaim, err)
}

func attemptsOf(members []*member) []store.Attempt {
	attempts := make([]store.Attempt, len(members))
	for i, m := range members {
		attempts[i] = m.attempt
	}
	return attempts
}

// commitBatch ends a successful batch. After an error of the server the batch
// may be committed nevertheless. The next try then finds its runs settled.
func (x *executor) commitBatch(ctx context.Context, c *claim, members []*member, maybeReplaced bool) error {
	if err := checkCommittable(c.conn.PgConn()); err != nil {
		return err
	}
	if maybeReplaced {
		if err := x.checkClaims(ctx, c.tx, members); err != nil {
			return err
		}
	}
	if err := c.tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	cleanpool.Mark(c.conn)
	return nil
}

// checkClaims is checkClaim for a batch.
func (x *executor) checkClaims(ctx context.Context, tx pgx.Tx, members []*member) error {
	claims, err := x.store.ClaimsTx(ctx, tx, attemptsOf(members))
	if err != nil {
		return err
	}
	for _, c := range claims {
		if !errors.Is(c.Reason, store.ErrRunSettled) {
			return errEndedTx
		}
	}
	return nil
}

// workAlone works the event of a member in a transaction of its own, with the
// whole timeout. It calls worked once it does not need its place any more.
func (x *executor) workAlone(ctx context.Context, attempt store.Attempt, worked func()) error {
	worked = sync.OnceFunc(worked)
	defer worked()
	ctx, cancel := context.WithTimeout(withoutDeadline(ctx), x.jobType.timeout)
	defer cancel()
	runningJobOf(ctx).setTimeout(ctx, x.jobType.timeout)
	return x.workTx(ctx, attempt, worked)
}

// withoutDeadline returns a context that ends with ctx, but not because of its
// deadline.
func withoutDeadline(ctx context.Context) context.Context {
	open, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
			cancel(cause)
		}
	})
	return open
}
