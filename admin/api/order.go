package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/jsonline"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store/once"
	"lumin-ingest/store/operate"
)

// orderRequest is the input of an operation that changes something.
type orderRequest[I any] struct {
	Key  string `header:"Idempotency-Key" maxLength:"200" doc:"A text of your choice, different for each order. If you lose the answer, send the order again with the same key: it is carried out once, and you get the same answer. Keys are kept for a day."`
	Body I
}

// orderOfRequest is the input of an operation that changes the order with an id.
// The fields repeat those of orderRequest: huma sees no header in an embedded type
// that is not exported.
type orderOfRequest[I any] struct {
	ID   int64  `path:"id" doc:"The id that the order got."`
	Key  string `header:"Idempotency-Key" maxLength:"200" doc:"A text of your choice, different for each order. If you lose the answer, send the order again with the same key: it is carried out once, and you get the same answer. Keys are kept for a day."`
	Body I
}

// orderOf is what an order with an id is asked to do.
type orderOf[I any] struct {
	ID   int64
	Body I
}

// as returns the window for the caller of a request.
func (a *api) as(ctx context.Context) *window.Window {
	return a.window.As(access.From(ctx).Actor(operate.API))
}

// order adds an operation that changes something. do gets the window of the caller,
// and a token that is the same whenever this order is carried out; it is empty for
// an order without a key.
func order[I, T any](a *api, op operation, do func(context.Context, *window.Window, string, I) (T, error)) {
	op.errors = append(op.errors, http.StatusConflict)
	huma.Register(a.huma, a.describe(op), func(ctx context.Context, in *orderRequest[I]) (*reply[T], error) {
		return carryOut(ctx, a, op, in.Key, in.Body, do)
	})
}

// changeOrder adds an operation that changes the order with an id.
func changeOrder[I, T any](a *api, op operation, do func(context.Context, *window.Window, int64, I) (T, error)) {
	op.errors = append(op.errors, http.StatusNotFound, http.StatusConflict)
	huma.Register(a.huma, a.describe(op), func(ctx context.Context, in *orderOfRequest[I]) (*reply[T], error) {
		return carryOut(ctx, a, op, in.Key, orderOf[I]{in.ID, in.Body}, func(ctx context.Context, w *window.Window, _ string, what orderOf[I]) (T, error) {
			return do(ctx, w, what.ID, what.Body)
		})
	})
}

func carryOut[I, T any](ctx context.Context, a *api, op operation, key string, what I, do func(context.Context, *window.Window, string, I) (T, error)) (*reply[T], error) {
	// A caller that disconnects cancels nothing. The time includes the wait for another
	// request that is carrying out the same order.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
	defer cancel()
	body, err := carryOutOnce(ctx, a, op, key, what, do)
	if err != nil {
		return nil, a.problemOf(ctx, op, err)
	}
	return &reply[T]{body}, nil
}

func carryOutOnce[I, T any](ctx context.Context, a *api, op operation, key string, what I, do func(context.Context, *window.Window, string, I) (T, error)) (body T, err error) {
	w := a.as(ctx)
	if key == "" {
		body, err = do(ctx, w, "", what)
		return body, a.carriedOut(op, err)
	}
	text, err := json.Marshal(what)
	if err != nil {
		return body, err
	}
	claim, err := a.orders.Claim(ctx, once.ID(access.From(ctx).ID(), key), sha256.Sum256(append([]byte(op.id+"\n"), text...)))
	if err != nil {
		return body, err
	}
	if claim.Answer != nil {
		return body, json.Unmarshal(claim.Answer, &body)
	}
	body, err = do(ctx, w, claim.Token, what)
	if err = a.carriedOut(op, err); err == nil {
		a.endClaim(ctx, op, claim, body)
		return body, nil
	}
	a.endClaim(ctx, op, claim, nil)
	return body, err
}

// carriedOut accepts a change whose row in the audit log could not be completed.
func (a *api) carriedOut(op operation, err error) error {
	if !errors.Is(err, operate.ErrNoOutcome) {
		return err
	}
	a.logger.Error("a change has no outcome in the audit log", "operation", op.id, "error", redact.Text(errtext.OneLine(err)))
	return nil
}

// endClaim stores the answer of an order. Without an answer, the order may be sent
// again: it goes on with the same token. If the claim cannot be ended, it ends in a
// minute, as if the program had ended before it had answered.
func (a *api) endClaim(ctx context.Context, op operation, claim once.Claim, body any) {
	// Even if the time is up, the next request must know.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var err error
	if body == nil {
		err = a.orders.Release(ctx, claim)
	} else {
		var answer bytes.Buffer
		if err = jsonline.Write(&answer, body); err == nil {
			err = a.orders.Finish(ctx, claim, answer.Bytes())
		}
	}
	if err != nil {
		a.logger.Error("the answer of an order could not be stored", "operation", op.id, "error", redact.Text(errtext.OneLine(err)))
	}
}

// changedRuns is the answer of a change that works page by page. If it ended early,
// the rest is left to another order.
func (a *api) changedRuns(op string, runs int64, err error) (Changed, error) {
	if runs == 0 || err == nil || errors.Is(err, operate.ErrNoOutcome) {
		return Changed{Changed: runs}, err
	}
	a.logger.Warn("a change was made in part", "operation", op, "runs", runs, "error", redact.Text(errtext.OneLine(err)))
	return Changed{Changed: runs, More: true}, nil
}
