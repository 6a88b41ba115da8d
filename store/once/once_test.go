package once_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/once"
)

func newOrders(t *testing.T) (*once.Orders, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.Pool(t, pgtest.New(t))
	return once.New(pool), pool
}

// claim claims an order that must be free or answered.
func claim(t *testing.T, o *once.Orders, key, request string) once.Claim {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // less than a claim lasts
	defer cancel()
	c, err := o.Claim(ctx, once.ID("ann", key), sha256.Sum256([]byte(request)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// expire makes all claims expired.
func expire(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `UPDATE lumin.api_orders SET claimed_until = now() - interval '1 second'`); err != nil {
		t.Fatal(err)
	}
}

// refused returns the error of a claim that does not wait long.
func refused(t *testing.T, o *once.Orders, key, request string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := o.Claim(ctx, once.ID("ann", key), sha256.Sum256([]byte(request)))
	return err
}

// An order that is under way is claimed by no other request, and a key stands for one
// order only: before its answer, after it, and after the claim has expired.
func TestClaimExcludesOthers(t *testing.T) {
	t.Parallel()
	o, pool := newOrders(t)
	first := claim(t, o, "key", "dismiss")
	if first.Answer != nil || first.Token == "" {
		t.Fatalf("the first claim: %+v", first)
	}
	if err := refused(t, o, "key", "dismiss"); !errors.Is(err, once.ErrUnderWay) {
		t.Errorf("the same order, under way: %v", err)
	}
	if err := refused(t, o, "key", "restore"); !errors.Is(err, once.ErrOtherRequest) {
		t.Errorf("another order, under way: %v", err)
	}
	expire(t, pool)
	if err := refused(t, o, "key", "restore"); !errors.Is(err, once.ErrOtherRequest) {
		t.Errorf("another order, expired: %v", err)
	}
	again := claim(t, o, "key", "dismiss")
	if again.Answer != nil || again.Token != first.Token {
		t.Errorf("the expired claim has token %s, the next %s, with the answer %q", first.Token, again.Token, again.Answer)
	}
	if err := o.Finish(t.Context(), again, []byte("done")); err != nil {
		t.Fatal(err)
	}
	expire(t, pool)
	if c := claim(t, o, "key", "dismiss"); string(c.Answer) != "done" {
		t.Errorf("the answer is %q", c.Answer)
	}
	if err := refused(t, o, "key", "restore"); !errors.Is(err, once.ErrOtherRequest) {
		t.Errorf("another order, answered: %v", err)
	}
	if other, err := o.Claim(t.Context(), once.ID("bob", "key"), sha256.Sum256([]byte("restore"))); err != nil || other.Answer != nil {
		t.Errorf("the key of another caller: %+v, %v", other, err)
	}
}

// A released order can be claimed at once, with the same token.
func TestRelease(t *testing.T) {
	t.Parallel()
	o, _ := newOrders(t)
	first := claim(t, o, "key", "dismiss")
	if err := o.Release(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if next := claim(t, o, "key", "dismiss"); next.Token != first.Token || next.Answer != nil {
		t.Errorf("%+v, after %+v", next, first)
	}
}

// Of requests at the same time, one carries out the order. The others get its answer.
func TestOneOfManyCarriesOut(t *testing.T) {
	t.Parallel()
	o, _ := newOrders(t)
	var carriedOut atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c, err := o.Claim(t.Context(), once.ID("ann", "key"), sha256.Sum256([]byte("dismiss")))
			if err == nil && c.Answer == nil {
				carriedOut.Add(1)
				c.Answer = []byte("done")
				err = o.Finish(t.Context(), c, c.Answer)
			}
			if err != nil || !bytes.Equal(c.Answer, []byte("done")) {
				t.Errorf("%q, %v", c.Answer, err)
			}
		})
	}
	all.Wait()
	if n := carriedOut.Load(); n != 1 {
		t.Errorf("carried out %d times", n)
	}
}

// Keys and their answers are forgotten after a day.
func TestForget(t *testing.T) {
	t.Parallel()
	o, pool := newOrders(t)
	if err := o.Finish(t.Context(), claim(t, o, "old", "dismiss"), []byte("done")); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `UPDATE lumin.api_orders SET created_at = now() - interval '25 hours'`); err != nil {
		t.Fatal(err)
	}
	claim(t, o, "new", "dismiss")
	if n := pgtest.Value[int](t, pool, `SELECT count(*) FROM lumin.api_orders`); n != 1 {
		t.Errorf("%d keys are kept, want 1", n)
	}
}
