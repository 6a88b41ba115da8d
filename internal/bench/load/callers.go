package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// CallersPath is where a program of the benchmark serves [Callers].
const CallersPath = "/callers"

// Callers is a load inside the process that is measured: the callers call
// record directly, without HTTP and signatures. Each request describes a load
// in JSON, in which Connections is the number of callers. The answer is its
// report. A recorded delivery counts as answered 200.
func Callers(record func(ctx context.Context, body []byte) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var cfg Config
		if err := json.NewDecoder(r.Body).Decode(&cfg); err != nil {
			http.Error(w, fmt.Sprintf("read the description of the load: %v", err), http.StatusBadRequest)
			return
		}
		posts := make([]func([]byte) (int, error), cfg.Connections)
		for i := range posts {
			posts[i] = func(body []byte) (int, error) {
				// The caller reuses its buffer, but a recorder may keep the body.
				if err := record(context.WithoutCancel(r.Context()), append([]byte(nil), body...)); err != nil {
					return 0, err
				}
				return http.StatusOK, nil
			}
		}
		_ = json.NewEncoder(w).Encode(drive(r.Context(), cfg, posts)) // the caller notices a missing report
	})
}
