package load

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"lumin-ingest/lumin"
)

// Callers record every event of the load once, each with a body of its own, and
// the report counts what was recorded.
func TestCallers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var kept [][]byte
	handler := Callers(func(_ context.Context, body []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if kept = append(kept, body); len(kept) == 50 {
			return errors.New("not recorded")
		}
		return nil
	})
	answer := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, CallersPath, strings.NewReader(`{"Connections": 4, "Count": 100, "Base": 1700000000000}`))
	handler.ServeHTTP(answer, request)
	var report Report
	if err := json.Unmarshal(answer.Body.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s", err, answer.Body)
	}
	if report.Sent != 100 || report.Events != 99 || report.Failed != 1 || report.FirstError != "not recorded" {
		t.Errorf("report %+v, want 100 sent, 99 of them recorded", report)
	}
	keys := map[lumin.EventKey]bool{}
	for _, body := range kept {
		envelope, err := lumin.DecodeEnvelope(body)
		if err != nil {
			t.Fatal(err)
		}
		keys[envelope.Key()] = true
	}
	if len(keys) != 100 {
		t.Errorf("%d different events, want 100", len(keys))
	}
}
