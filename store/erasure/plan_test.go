package erasure_test

import (
	"errors"
	"strings"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/internal/storetest"
)

func TestEraseRefused(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1))
	for what, subject := range map[string]erasure.Subject{
		"nothing":     {},
		"both":        {SignatureRequestIDs: []string{"request-1"}, Email: "a@example.com"},
		"an empty id": {SignatureRequestIDs: []string{""}},
		"a name":      {Email: "Zyzzyva"},
		"no domain":   {Email: "zyzzyva@"},
		"two at once": {Email: "a@example.com b@example.com"},
	} {
		if _, err := erasure.NewPlan(t.Context(), s.Pool(), subject); err == nil || strings.Contains(err.Error(), "yzzyva") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := erasure.NewPlan(t.Context(), s.Pool(), erasure.Subject{SignatureRequestIDs: []string{"request-1", "request-2"}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}
