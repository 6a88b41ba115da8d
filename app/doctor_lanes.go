package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/lanes"
)

// longHeld is how long a lane may be held before doctor reports it.
const longHeld = 5 * time.Minute

// examineLanes reports lanes that a failed run has held for a long time.
func examineLanes(ctx context.Context, st *store.Store) ([]finding, error) {
	held, err := lanes.CountHeld(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	return checkLanes(held), nil
}

func checkLanes(held []lanes.Held) []finding {
	if len(held) == 0 {
		return nil // no job type holds its lanes
	}
	var long []string
	for _, h := range held {
		if h.Since != nil && h.Age > longHeld.Seconds() {
			long = append(long, fmt.Sprintf("%s %s, the oldest since %s", h.Kind, h.Number(), h.Since.UTC().Format(time.RFC3339)))
		}
	}
	if len(long) == 0 {
		return []finding{{"lanes", ok, "none is held for more than 5 minutes", ""}}
	}
	return []finding{{"lanes", warning, "held by a failed run, so that later events of the signature request wait: " + strings.Join(long, "; "),
		fmt.Sprintf("see \"%[1]s lanes list --held\"; fix the cause and replay the failed run, or go on without it: \"%[1]s lanes skip\"", invocation())}}
}
