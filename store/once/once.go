package once

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// claimed is how long a claim lasts. It is longer than any request.
	claimed = time.Minute

	// kept is how long keys and answers are kept.
	kept = 24 * time.Hour

	// poll is the time between two looks at an order that another request is
	// carrying out.
	poll = 100 * time.Millisecond
)

// Errors of [Orders.Claim].
var (
	// ErrOtherRequest means that the key was used for another order.
	ErrOtherRequest = errors.New("this key was used for another order")

	// ErrUnderWay means that another request is still carrying out this order.
	ErrUnderWay = errors.New("another request is carrying out this order")
)

// Orders are the orders of one database: those of the API and of the dashboard. Its methods are safe for concurrent use.
type Orders struct{ pool *pgxpool.Pool }

// New returns the orders of a database.
func New(pool *pgxpool.Pool) *Orders { return &Orders{pool} }

// ID identifies the order of a caller with a key.
func ID(caller, key string) [sha256.Size]byte {
	return sha256.Sum256([]byte(caller + "\x00" + key))
}

// Claim is the right to carry out an order, or its answer.
type Claim struct {
	id     [sha256.Size]byte
	Token  string // a UUID, the same for each claim of this order
	Answer []byte // nil: carry out the order
}

const claimSQL = `
INSERT INTO lumin.api_orders AS o (id, request, claimed_until) VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (id) DO UPDATE SET claimed_until = excluded.claimed_until
WHERE o.request = excluded.request AND o.answer IS NULL AND o.claimed_until <= now()
RETURNING token::text`

const forgetSQL = `
DELETE FROM lumin.api_orders WHERE id IN (
    SELECT id FROM lumin.api_orders WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)`

// Claim claims an order. request identifies what is ordered. While another request
// is carrying out the same order, Claim waits for its answer. The error is
// ErrOtherRequest if the order with this id was another one, and ErrUnderWay if the
// wait ends with ctx.
func (o *Orders) Claim(ctx context.Context, id, request [sha256.Size]byte) (Claim, error) {
	if _, err := o.pool.Exec(ctx, forgetSQL, kept.Seconds()); err != nil {
		return Claim{}, fmt.Errorf("forget old orders: %w", err)
	}
	for {
		c, err := o.try(ctx, id, request)
		if !errors.Is(err, ErrUnderWay) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return Claim{}, ErrUnderWay
		case <-time.After(poll):
		}
	}
}

func (o *Orders) try(ctx context.Context, id, request [sha256.Size]byte) (Claim, error) {
	c := Claim{id: id}
	err := o.pool.QueryRow(ctx, claimSQL, id[:], request[:], claimed.Seconds()).Scan(&c.Token)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return c, fmt.Errorf("claim an order: %w", err)
	}
	var same bool
	err = o.pool.QueryRow(ctx, `SELECT token::text, request = $2, answer FROM lumin.api_orders WHERE id = $1`, id[:], request[:]).
		Scan(&c.Token, &same, &c.Answer)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // it has just been forgotten
		return c, ErrUnderWay
	case err != nil:
		return c, fmt.Errorf("read an order: %w", err)
	case !same:
		return c, ErrOtherRequest
	case c.Answer == nil:
		return c, ErrUnderWay
	}
	return c, nil
}

// Finish stores the answer of an order.
func (o *Orders) Finish(ctx context.Context, c Claim, answer []byte) error {
	if _, err := o.pool.Exec(ctx, `UPDATE lumin.api_orders SET answer = $2 WHERE id = $1`, c.id[:], answer); err != nil {
		return fmt.Errorf("store the answer of an order: %w", err)
	}
	return nil
}

// Release ends a claim without an answer. The next claim goes on with the same
// token: it may be unknown whether the order was carried out.
func (o *Orders) Release(ctx context.Context, c Claim) error {
	if _, err := o.pool.Exec(ctx, `UPDATE lumin.api_orders SET claimed_until = now() WHERE id = $1 AND answer IS NULL`, c.id[:]); err != nil {
		return fmt.Errorf("release an order: %w", err)
	}
	return nil
}
