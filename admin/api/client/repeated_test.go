package client_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"lumin-ingest/store/lanes"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// If a lane has changed after an attempt whose answer was lost, that attempt may have
// skipped its head.
func TestSkipAfterLostAnswer(t *testing.T) {
	t.Parallel()
	const yes, no, none = `{"skipped":true}`, `{"skipped":false}`, "problem 404 no_lane"
	for name, test := range map[string]struct {
		list    []any
		skipped bool
		want    error
	}{
		"not skipped":         {[]any{no}, false, nil},
		"no lane":             {[]any{none}, false, lanes.ErrNoLane},
		"lost, then skipped":  {[]any{io.EOF, yes}, true, nil},
		"lost, then not":      {[]any{io.EOF, no}, false, operate.ErrInDoubt},
		"lost, then no lane":  {[]any{io.EOF, none}, false, operate.ErrInDoubt},
		"doubt, then no lane": {[]any{"problem 503 outcome_unknown", none}, false, operate.ErrInDoubt},
		"down, then no lane":  {[]any{"problem 503 database_unavailable", none}, false, lanes.ErrNoLane},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				event, key, server := int64(7), "k", &answers{list: test.list}
				skipped, err := server.client(t).SkipLane(t.Context(), lanes.Lane{Kind: "book", HeldBy: &event, HeldKey: &key}, "test")
				if skipped != test.skipped || !errors.Is(err, test.want) {
					t.Errorf("%t, %v", skipped, err)
				}
			})
		})
	}
}

// A client tells that an order was sent again after an attempt whose answer was lost,
// and not that the server had refused it before.
func TestRepeated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first any
		want  bool
	}{
		"lost":       {io.EOF, true},
		"in doubt":   {"problem 503 outcome_unknown", true},
		"not begun":  {"problem 503 database_unavailable", false},
		"not before": {`{"changed":0}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := (&answers{list: []any{test.first, `{"changed":0}`}}).client(t)
				if _, err := c.Dismiss(t.Context(), replay.Filter{}, "test"); err != nil || c.Repeated() != test.want {
					t.Errorf("%t, %v", c.Repeated(), err)
				}
			})
		})
	}
}
