package history

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// eventBound limits the search for the order of one event.
const eventBound = 20 * time.Second

// Result is the result of [Check].
type Result[K comparable] struct {
	Unexplained []K           // events without an order that explains their history
	Events      int           // checked
	Operations  int           // of all events
	Most        int           // operations of one event
	Longest     time.Duration // search for the order of one event
}

// Check checks the histories of many events. It returns an error if the search
// took too long for one of them, or if ctx ends.
func Check[K comparable](ctx context.Context, histories map[K]History) (Result[K], error) {
	var (
		mu     sync.Mutex
		errs   []error
		result Result[K]
		keys   = make(chan K)
		all    sync.WaitGroup
	)
	one := func(key K) {
		start, h := time.Now(), histories[key]
		explained, err := h.Explained(eventBound)
		mu.Lock()
		defer mu.Unlock()
		result.Events++
		result.Operations += len(h)
		result.Most = max(result.Most, len(h))
		result.Longest = max(result.Longest, time.Since(start))
		if err != nil {
			errs = append(errs, fmt.Errorf("history of %v: %w", key, err))
		} else if !explained {
			result.Unexplained = append(result.Unexplained, key)
		}
	}
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for key := range keys {
				one(key)
			}
		})
	}
	for key := range histories {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		keys <- key
	}
	close(keys)
	all.Wait()
	return result, errors.Join(errs...)
}
