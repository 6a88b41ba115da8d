package window

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A caller who waits for a turn leaves when its context ends.
func TestInTurn(t *testing.T) {
	t.Parallel()
	w := &Window{turn: make(chan struct{}, 1)}
	counts := 0
	count := func(ctx context.Context, _ *pgxpool.Pool) (int, error) {
		counts++
		impatient, cancel := context.WithCancel(ctx)
		cancel()
		_, err := inTurn(impatient, w, func(context.Context, *pgxpool.Pool) (int, error) { counts++; return 0, nil })
		return counts, err
	}
	for i := range 2 {
		if n, err := inTurn(t.Context(), w, count); n != i+1 || !errors.Is(err, context.Canceled) {
			t.Errorf("turn %d: %d counts, %v", i, n, err)
		}
	}
}
