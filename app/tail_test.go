package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiclient "lumin-ingest/admin/api/client"
	"lumin-ingest/store"
)

// A tail through the API waits for a server that cannot answer at the moment. It ends
// when the token or its role is no longer valid, and when something else answers.
func TestTailEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status    int
		body      string
		temporary bool
		want      string
	}{
		"a wrong token":      {http.StatusUnauthorized, `{"code":"wrong_token","detail":"x"}`, false, "does not accept the token"},
		"a missing role":     {http.StatusForbidden, `{"code":"role_missing","detail":"This operation needs the role read."}`, false, "needs the role read"},
		"an invalid filter":  {http.StatusUnprocessableEntity, `{"code":"invalid_request","detail":"no"}`, false, "no"},
		"a fault":            {http.StatusInternalServerError, `{"code":"internal_error","detail":"The program failed."}`, false, "The program failed"},
		"a page":             {http.StatusOK, `<html>`, false, "is not the API"},
		"no database":        {http.StatusServiceUnavailable, `{"code":"database_unavailable","detail":"x"}`, true, ""},
		"too many attempts":  {http.StatusTooManyRequests, `{"code":"too_many_attempts","detail":"x"}`, true, ""},
		"a proxy without it": {http.StatusBadGateway, `<html>`, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var broken, calls atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Content-Type", "application/json")
				if broken.Load() == 0 {
					fmt.Fprint(w, `{"events":[],"cursor":"c"}`)
					return
				}
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			c, err := apiclient.New(apiclient.Config{Server: server.URL, Token: "canary"})
			if err != nil {
				t.Fatal(err)
			}
			tail, _, err := c.Tail(t.Context(), store.EventFilter{})
			if err != nil {
				t.Fatal(err)
			}
			broken.Store(1)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var said strings.Builder
			f := follower{next: func(ctx context.Context) ([]store.EventSummary, error) {
				if calls.Load() > 3 { // it has tried again
					cancel()
				}
				return tail.Next(ctx)
			}, show: showJSON(io.Discard), err: &said, every: time.Millisecond}
			f.from, f.transient = behind(c)
			switch err = f.run(ctx); {
			case test.temporary && (err != nil || !strings.Contains(said.String(), "lost the connection to the server")):
				t.Errorf("%v, said %q", err, said.String())
			case !test.temporary && (err == nil || !strings.Contains(err.Error(), test.want) || calls.Load() != 2):
				t.Errorf("after %d calls: %v", calls.Load(), err)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Error("it did not end")
			}
		})
	}
}
