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
	"lumin-ingest/internal/jsonline"
	"lumin-ingest/store/once"
	"lumin-ingest/store/operate"
)

// orderRequest is the input of an operation that changes something.
type orderRequest[I any] struct {
	Key  string `header:"Idempotency-Key" maxLength:"200" doc:"A text of your choice, different for each order. If you lose the answer, send the order again with the same key: it is carried out once, and you get the same answer. Keys are kept for a day."`
	Body I
}

// orderTimeout bounds an order, with the wait for another request that is
// carrying out the same one. The admin listener answers within 30 s.
const orderTimeout = 20 * time.Second

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
		// A caller that disconnects cancels nothing.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orderTimeout)
		defer cancel()
		body, err := carryOut(ctx, a, op, in, do)
		if err != nil {
			return nil, a.problemOf(ctx, op, err)
		}
		return &reply[T]{body}, nil
	})
}

func carryOut[I, T any](ctx context.Context, a *api, op operation, in *orderRequest[I], do func(context.Context, *window.Window, string, I) (T, error)) (body T, err error) {
	w := a.as(ctx)
	if in.Key == "" {
		return do(ctx, w, "", in.Body)
	}
	text, err := json.Marshal(in.Body)
	if err != nil {
		return body, err
	}
	claim, err := a.orders.Claim(ctx, once.ID(access.From(ctx).ID(), in.Key), sha256.Sum256(append([]byte(op.id+"\n"), text...)))
	if err != nil {
		return body, err
	}
	if claim.Answer != nil {
		return body, json.Unmarshal(claim.Answer, &body)
	}
	body, err = do(ctx, w, claim.Token, in.Body)
	// Even if the time is up, the next request must know.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err != nil {
		return body, errors.Join(err, a.orders.Release(ctx, claim))
	}
	var answer bytes.Buffer
	if err := jsonline.Write(&answer, body); err != nil {
		return body, err
	}
	return body, a.orders.Finish(ctx, claim, answer.Bytes())
}
