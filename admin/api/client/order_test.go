package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lumin-ingest/admin/api/client"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// answers is a server that gives one answer after the other; the last one again and
// again. It keeps the key of each request.
type answers struct {
	list []any // an error, or a status and a body
	keys []string
	each func() // called at each request; nil: nothing
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.keys = append(a.keys, r.Header.Get("Idempotency-Key"))
	if a.each != nil {
		a.each()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	next := a.list[min(len(a.keys), len(a.list))-1]
	if err, ok := next.(error); ok {
		return nil, err
	}
	status, body, kind := http.StatusOK, next.(string), "application/json"
	if code, found := strings.CutPrefix(body, "problem "); found {
		status, kind = 503, "application/problem+json"
		_, _ = fmt.Sscanf(code, "%d %s", &status, &code)
		body = fmt.Sprintf(`{"status":%d,"code":%q,"detail":"the detail"}`, status, code)
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (a *answers) client(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Server: "http://127.0.0.1:1", Transport: a})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// oneKey reports whether all requests had the same key.
func (a *answers) oneKey() bool {
	for _, key := range a.keys {
		if key == "" || key != a.keys[0] {
			return false
		}
	}
	return true
}

// An order whose answer is lost is sent again with the same key while a program
// restarts. If the end stays unknown, the error says so. Nothing is in doubt if every
// attempt was refused.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	const ordered = `{"id":7}`
	many := func(what any, n int, last any) (list []any) {
		for range n {
			list = append(list, what)
		}
		return append(list, last)
	}
	for name, test := range map[string]struct {
		list         []any
		want         error // nil, operate.ErrInDoubt or another
		least, most  time.Duration
		sentTheLeast int
	}{
		"answered":                    {[]any{ordered}, nil, 0, 0, 1},
		"restarted":                   {append([]any{io.ErrUnexpectedEOF}, many(refused, 10, ordered)...), nil, 5 * time.Second, patience, 12},
		"database restarted":          {many("problem 503 database_unavailable", 10, ordered), nil, 5 * time.Second, patience, 11},
		"claim of an ended program":   {append([]any{io.EOF}, many("problem 409 under_way", 33, ordered)...), nil, 60 * time.Second, 75 * time.Second, 35},
		"in doubt, then ordered":      {[]any{"problem 503 outcome_unknown", ordered}, nil, 0, time.Second, 2},
		"lost":                        {[]any{io.EOF, refused}, operate.ErrInDoubt, 25 * time.Second, patience, 10},
		"proxy without the program":   {[]any{io.EOF, "problem 502 proxy"}, operate.ErrInDoubt, 25 * time.Second, patience, 10},
		"always in doubt":             {[]any{"problem 503 outcome_unknown"}, operate.ErrInDoubt, 25 * time.Second, patience, 10},
		"lost, then not signed in":    {[]any{io.EOF, "problem 401 not_signed_in"}, operate.ErrInDoubt, 0, time.Second, 2},
		"lost, then an older program": {[]any{io.EOF, "problem 404 unknown_operation"}, operate.ErrInDoubt, 0, time.Second, 2},
		"lost, then a stranger":       {[]any{io.EOF, "problem 404 not_found"}, operate.ErrInDoubt, 0, time.Second, 2},
		"lost, then refused by form":  {[]any{io.EOF, "problem 422 invalid_request"}, operate.ErrInDoubt, 0, time.Second, 2},
		"lost, then another order":    {[]any{io.EOF, "problem 422 key_reused"}, operate.ErrInDoubt, 0, time.Second, 2},
		"lost, then ended":            {[]any{io.EOF, "problem 409 replay_ended"}, replay.ErrEnded, 0, time.Second, 2},
		"never reached":               {[]any{refused}, refused, 0, 0, 1},
		"not signed in":               {[]any{"problem 401 not_signed_in"}, errors.ErrUnsupported, 0, 0, 1},
		"too many attempts":           {[]any{"problem 429 too_many_attempts"}, errors.ErrUnsupported, 0, 0, 1},
		"database gone, not in doubt": {[]any{"problem 503 database_unavailable"}, errors.ErrUnsupported, 25 * time.Second, patience, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &answers{list: test.list}
				start := time.Now()
				id, err := server.client(t).Replay(t.Context(), replay.NewOrder{})
				switch {
				case test.want == nil && (err != nil || id != 7):
					t.Errorf("replay %d, %v", id, err)
				case test.want == errors.ErrUnsupported && (err == nil || errors.Is(err, operate.ErrInDoubt)):
					t.Error(err)
				case test.want != nil && test.want != errors.ErrUnsupported && !errors.Is(err, test.want):
					t.Errorf("%v, want %v", err, test.want)
				case test.want != operate.ErrInDoubt && errors.Is(err, operate.ErrInDoubt):
					t.Errorf("in doubt: %v", err)
				}
				if took := time.Since(start); took < test.least || took > test.most || len(server.keys) < test.sentTheLeast {
					t.Errorf("%d attempts in %s", len(server.keys), took)
				}
				if !server.oneKey() {
					t.Errorf("keys %q", server.keys)
				}
			})
		})
	}
}

const patience = 30 * time.Second

// Ctrl-C ends the wait at once. The order may be carried out all the same.
func TestInterruptedOrder(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]any{"during the request": nil, "between two attempts": io.EOF} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancel(t.Context())
				server := &answers{list: []any{first}}
				if first == nil {
					server.each = interrupt
				} else {
					server.each = func() { time.AfterFunc(100*time.Millisecond, interrupt) }
				}
				start := time.Now()
				_, err := server.client(t).Replay(ctx, replay.NewOrder{})
				if !errors.Is(err, operate.ErrInDoubt) || errors.Is(err, context.Canceled) || err.Error() != "interrupted; the server may carry it out all the same" {
					t.Error(err)
				}
				if took := time.Since(start); took > 100*time.Millisecond {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// What an order has left is ordered with another key. An error does not hide what was
// changed before.
func TestRestOfChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &answers{list: []any{`{"changed":5000,"more":true}`, `{"changed":1,"more":false}`}}
		if n, err := server.client(t).Dismiss(t.Context(), replay.Filter{}, "test"); n != 5001 || err != nil || len(server.keys) != 2 || server.oneKey() {
			t.Errorf("%d runs, %v, keys %q", n, err, server.keys)
		}
		server = &answers{list: []any{`{"changed":5000,"more":true}`, "problem 500 internal_error"}}
		if n, err := server.client(t).Restore(t.Context(), replay.Filter{}, "test"); n != 5000 || err == nil {
			t.Errorf("%d runs, %v", n, err)
		}
	})
}
