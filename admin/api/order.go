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
	// A caller that disconnects cancels nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orderTimeout)
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
		return do(ctx, w, "", what)
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
