package servicelog

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a writer that blocks while it is shut, and fails on request.
type gate struct {
	mu    sync.Mutex
	open  *sync.Cond
	shut  bool
	text  strings.Builder
	err   error
	takes int // bytes of a write that fails
}

func newGate(shut bool) *gate {
	g := &gate{shut: shut}
	g.open = sync.NewCond(&g.mu)
	return g
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.open.Wait()
	}
	if g.err != nil {
		g.text.Write(p[:g.takes])
		return g.takes, g.err
	}
	return g.text.Write(p)
}

func (g *gate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	g.open.Broadcast()
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

func notice(n uint64) []byte { return fmt.Appendf(nil, "dropped %d\n", n) }

// A reader that is stuck costs only lines. The log shows where they are missing
// and how many.
func TestQueueWithStuckReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(true)
		q := newQueue(g, 4)
		q.SetNotice(notice)
		fmt.Fprintln(q, "held")
		synctest.Wait() // the goroutine is in Write with it
		for n := range 10 {
			fmt.Fprintln(q, "line", n)
		}
		if got := q.Dropped(); got != 6 {
			t.Errorf("%d dropped, want 6", got)
		}
		start := time.Now()
		if q.Flush(time.Second) {
			t.Error("flushed although the reader is stuck")
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("Flush took %v", took)
		}
		g.set(func() { g.shut = false })
		synctest.Wait()
		fmt.Fprintln(q, "later")
		if !q.Close(time.Second) {
			t.Error("not flushed although the reader reads")
		}
		want := "held\nline 0\nline 1\nline 2\nline 3\ndropped 6\nlater\n"
		if got := g.String(); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
	})
}

// Bytes are limited as well as lines: a few large lines must not fill the
// memory.
func TestQueueBoundsBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(true)
		q := NewQueue(g)
		line := make([]byte, maxBytes/4)
		for range 6 {
			if n, err := q.Write(line); n != len(line) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
		}
		if got := q.Dropped(); got != 2 {
			t.Errorf("%d dropped, want 2", got)
		}
		g.set(func() { g.shut = false })
		synctest.Wait()
		if q.bytes.Load() != 0 {
			t.Errorf("%d bytes are still counted", q.bytes.Load())
		}
		q.Close(time.Second)
	})
}

// Lines that the writer refuses are counted too. After a partial line, the next
// line starts on a new one.
func TestQueueWithFailingWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(false)
		q := NewQueue(g)
		q.SetNotice(notice)
		g.set(func() { g.err, g.takes = errors.New("no space left on device"), 3 })
		fmt.Fprintln(q, "first")
		synctest.Wait()
		g.set(func() { g.takes = 0 })
		fmt.Fprintln(q, "second")
		synctest.Wait()
		g.set(func() { g.err = nil })
		fmt.Fprintln(q, "third")
		fmt.Fprintln(q, "fourth")
		q.Close(time.Second)
		if want, got := "fir\ndropped 2\nthird\nfourth\n", g.String(); got != want {
			t.Errorf("wrote %q, want %q", got, want)
		}
		if got := q.Dropped(); got != 2 {
			t.Errorf("%d dropped, want 2", got)
		}
	})
}

// No line is lost or cut with many concurrent writers, and writing after Close
// is harmless.
func TestQueueManyWriters(t *testing.T) {
	t.Parallel()
	g := newGate(false)
	q := NewQueue(g)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for n := range 100 {
				fmt.Fprintln(q, w, n)
			}
		})
	}
	all.Wait()
	q.Close(10 * time.Second)
	if got := strings.Count(g.String(), "\n"); got != 800 || q.Dropped() != 0 {
		t.Errorf("%d lines written and %d dropped, want 800 and 0", got, q.Dropped())
	}
	if _, err := io.WriteString(q, "too late\n"); err != nil {
		t.Error(err)
	}
}
