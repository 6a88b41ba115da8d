package workertest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Outside is another system, for job types that call one: it takes any request,
// and has one effect for all requests with the same Idempotency-Key. Of requests
// without one, each has an effect.
type Outside struct {
	URL string // http://127.0.0.1:PORT

	mu       sync.Mutex
	requests int
	next     []answer
	effects  []Effect
}

// Effect is what a request has brought about.
type Effect struct {
	Method, Path   string // path and query
	IdempotencyKey string
	Body           string
}

// answer is one that a request gets instead.
type answer struct {
	status int
	header []string
}

// NewOutside starts such a system for the length of a test.
func NewOutside(t testing.TB) *Outside {
	o := &Outside{}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	o.URL = server.URL
	return o
}

// Effects are what requests have brought about, in this order.
func (o *Outside) Effects() []Effect {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.effects)
}

// Requests is how many there were.
func (o *Outside) Requests() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests
}

// Next makes a request to come have no effect and get this answer; the names and
// values of its header follow each other. Each call is for one more request.
func (o *Outside) Next(status int, header ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.next = append(o.next, answer{status, header})
}

// ServeHTTP implements http.Handler. A key that comes again with another request is
// refused with 422, as systems do that have such keys.
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
