package app

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/worker"
)

// Without the states of signature requests, the periodic recovery finds little, and
// says so.
func TestRecoverWithoutStates(t *testing.T) {
	t.Parallel()
	api := luminapi.New()
	t.Cleanup(api.Close)
	for _, states := range []bool{true, false} {
		var log strings.Builder
		env := Env{DB: pgtest.Pool(t, pgtest.New(t)), Lumin: api.Client(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
		settings := builtInSettings{SignatureRequestState: states, recoverSettings: recoverSettings{RecoverEvery: time.Hour}}
		if err := settings.addTo(t.Context(), worker.NewRegistry(), env); err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "SIGNATURE_REQUEST_STATE"); warned == states {
			t.Errorf("SIGNATURE_REQUEST_STATE=%t: %q", states, log.String())
		}
	}
}

// A value that has no JSON form is not left out without an error.
func TestPrintUnusable(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	out := &output{to: &text}
	_ = printJSON(out, map[string]time.Time{"at": time.Date(10000, time.January, 1, 0, 0, 0, 0, time.UTC)})
	if out.failure() == nil {
		t.Errorf("no error after %q", text.String())
	}
}
