package hostile

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Flood keeps n hostile connections open to a public listener until ctx ends:
// slow headers, bodies that stall, short header lines, callers that read no
// answer, endless requests, and the cases of [Requests]. A connection that was
// closed is replaced. signature must not be valid for body.
func Flood(ctx context.Context, address string, n int, body, signature string) Flooded {
	f := &flood{answers: map[string]int{}, cases: Requests(body, signature), endless: EndlessRequests(signature)}
	kinds := f.kinds(ctx)
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			time.Sleep(time.Duration(i) * ramp)
			for turn := i / len(kinds); ctx.Err() == nil; turn++ {
				f.call(ctx, address, func(conn net.Conn) { kinds[i%len(kinds)](conn, turn) })
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	callers.Wait()
	return Flooded{Answers: f.answers, Peak: f.peak, Made: f.made, NotMade: f.notMade}
}

// Flooded says what a flood did.
type Flooded struct {
	Answers map[string]int // by status
	Peak    int            // connections that were open at the same time
	Made    int            // connections
	NotMade int            // attempts to connect that failed before the flood ended
}

const (
	// pause is how long a caller waits before it connects again. Without it, the
	// callers would need more processors than the server.
	pause = 10 * time.Second

	ramp       = 5 * time.Millisecond   // between the first connections of two callers
	trickle    = 500 * time.Millisecond // between two bytes of a slow header
	maxBody    = 1 << 20
	maxEndless = 4 << 20 // more than a server should take of an endless request
)

type flood struct {
	cases   []Case
	endless []Endless

	mu                        sync.Mutex
	answers                   map[string]int
	open, peak, made, notMade int // connections
}

// call uses one connection.
func (f *flood) call(ctx context.Context, address string, use func(net.Conn)) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if !f.count(ctx, err) {
		return
	}
	defer f.closed()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	use(conn)
}

// count counts an attempt to connect, and reports whether there is a connection.
func (f *flood) count(ctx context.Context, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			f.notMade++
		}
		return false
	}
	f.made++
	f.open++
	f.peak = max(f.peak, f.open)
	return true
}

func (f *flood) closed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

// kinds returns what callers do on a connection, as often as it is in the list.
func (f *flood) kinds(ctx context.Context) []func(conn net.Conn, turn int) {
	const post = "POST /webhooks/account HTTP/1.1\r\nHost: x\r\n"
	slow := func(conn net.Conn, _ int) { slowHeader(conn, post+"X: ") }
	stalled := func(start string) func(net.Conn, int) {
		return func(conn net.Conn, _ int) { f.send(conn, start) }
	}
	large := stalled(post + "Content-Length: 1048576\r\n\r\n" + strings.Repeat("x", maxBody-1))
	return []func(net.Conn, int){
		slow, large, stalled(post + Lines(97)), slow, stalled(post + Lines(4000)), stalled(""), slow, stalled(""),
		stalled(post + Lines(90) + "Content-Length: 16384\r\n\r\n" + strings.Repeat("x", 16<<10-1)), slow,
		func(conn net.Conn, _ int) { unread(ctx, conn) }, slow, stalled(post + Lines(97)), slow,
		func(conn net.Conn, turn int) { f.send(conn, f.cases[turn%len(f.cases)].Send) },
		func(conn net.Conn, turn int) { sendEndless(conn, f.endless[turn%len(f.endless)]) },
	}
}

// send sends a request, and reads until the connection is closed.
func (f *flood) send(conn net.Conn, request string) {
	var writing sync.WaitGroup
	writing.Go(func() { _, _ = io.WriteString(conn, request) })
	start := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, start); err == nil {
		f.mu.Lock()
		f.answers[string(start[len(start)-3:])]++
		f.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, conn)
	writing.Wait()
}

func slowHeader(conn net.Conn, start string) {
	for next := start; ; next = "x" {
		if _, err := io.WriteString(conn, next); err != nil {
			return
		}
		time.Sleep(trickle)
	}
}

// unread sends requests and reads no answer for a while.
func unread(ctx context.Context, conn net.Conn) {
	_, _ = io.WriteString(conn, strings.Repeat("GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n", 100))
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

func sendEndless(conn net.Conn, e Endless) {
	again := []byte(strings.Repeat(e.Again, 1+4096/len(e.Again)))
	_, err := io.WriteString(conn, e.Start)
	for sent := 0; sent < maxEndless && err == nil; sent += len(again) {
		_, err = conn.Write(again)
	}
}
