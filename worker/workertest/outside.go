package workertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Outside is a fake of another system, for job types that call one. It accepts
// any request. All requests with the same Idempotency-Key have one effect
// together. Each request without a key has its own effect.
type Outside struct {
	URL string // http://127.0.0.1:PORT

	mu       sync.Mutex
	requests int
	next     []answer
	effects  []Effect
}

// Effect is the effect of a request.
type Effect struct {
	Method, Path   string // path and query
	IdempotencyKey string
	Body           string
}

// answer is a response that a request gets instead of its effect.
type answer struct {
	status int
	header []string
}

// NewOutside starts the fake for the duration of a test.
func NewOutside(t testing.TB) *Outside {
	o := &Outside{}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	o.URL = server.URL
	return o
}

// Effects returns the effects so far, the oldest first.
func (o *Outside) Effects() []Effect {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.effects)
}

// Requests returns the number of requests so far.
func (o *Outside) Requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests
}

// Next gives the next request this response and no effect. header lists names
// and values in turn. Repeated calls queue responses for the requests after it.
func (o *Outside) Next(status int, header ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = append(o.next, answer{status, header})
}

// ServeHTTP implements http.Handler. It refuses a different request with a
// known key with 422, as systems with idempotency keys usually do.
func (o *Outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a := o.take(Effect{r.Method, r.URL.RequestURI(), r.Header.Get("Idempotency-Key"), string(body)})
	for i := 0; i+1 < len(a.header); i += 2 {
		w.Header().Set(a.header[i], a.header[i+1])
	}
	w.WriteHeader(a.status)
}

func (o *Outside) take(e Effect) answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	if len(o.next) > 0 {
		a := o.next[0]
		o.next = o.next[1:]
		return a
	}
	for _, known := range o.effects {
		switch {
		case e.IdempotencyKey == "" || known.IdempotencyKey != e.IdempotencyKey:
		case known == e:
			return answer{status: http.StatusOK}
		default:
			return answer{status: http.StatusUnprocessableEntity}
		}
	}
	o.effects = append(o.effects, e)
	return answer{status: http.StatusOK}
}
