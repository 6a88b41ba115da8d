package servicelog

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// Limits of a Queue. They hold one or two seconds of a busy service's log.
const (
	maxLines = 8192
	maxBytes = 2 << 20
)

// Queue is a bounded queue of lines for a writer that may block forever or
// fail. One goroutine writes the lines.
type Queue struct {
	out    io.Writer
	items  chan item
	bytes  atomic.Int64 // in items, and in the line being written
	closed chan struct{}

	missed  atomic.Uint64 // dropped since a line was last accepted
	dropped atomic.Uint64 // since the start

	notice atomic.Pointer[func(dropped uint64) []byte]
}

// item is a line, or a request to signal that all earlier lines are written.
type item struct {
	line    []byte
	missed  uint64 // lines dropped right before this one
	written chan<- struct{}
}

// NewQueue starts a Queue, which the caller must Close.
func NewQueue(out io.Writer) *Queue {
	return newQueue(out, maxLines)
}

func newQueue(out io.Writer, lines int) *Queue {
	q := &Queue{out: out, items: make(chan item, lines), closed: make(chan struct{})}
	go q.run()
	return q
}

// Writer returns the writer behind the queue.
func (q *Queue) Writer() io.Writer { return q.out }

// SetNotice sets a function that formats a notice of dropped lines in the
// format of the log. The notice is written before the next line. Without
// SetNotice there is none.
func (q *Queue) SetNotice(notice func(dropped uint64) []byte) { q.notice.Store(&notice) }

// Dropped returns the number of lines lost so far: those that did not fit, and
// those that the writer did not accept.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Write queues one line. It implements [io.Writer] for a handler that writes
// each line with one call.
func (q *Queue) Write(line []byte) (int, error) {
	size := int64(len(line))
	missed := q.missed.Swap(0)
	if q.bytes.Add(size) <= maxBytes {
		select {
		case q.items <- item{line: bytes.Clone(line), missed: missed}:
			return len(line), nil
		default:
		}
	}
	q.bytes.Add(-size)
	q.missed.Add(missed + 1)
	q.dropped.Add(1)
	return len(line), nil
}

// Flush waits until everything queued so far is written, but no longer than
// timeout. It reports whether everything was written.
func (q *Queue) Flush(timeout time.Duration) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	written := make(chan struct{})
	select {
	case q.items <- item{written: written}:
	case <-timer.C:
		return false
	}
	select {
	case <-written:
		return true
	case <-timer.C:
		return false
	}
}

// Close flushes and ends the goroutine, unless the writer blocks it. Later
// lines are lost. Close must be called exactly once.
func (q *Queue) Close(timeout time.Duration) bool {
	flushed := q.Flush(timeout)
	close(q.closed)
	return flushed
}

func (q *Queue) run() {
	var (
		lost   uint64 // lines that the writer did not accept, not yet reported
		broken bool   // the writer failed in the middle of a line
	)
	for {
		select {
		case <-q.closed:
			return
		case i := <-q.items:
			if i.written != nil {
				close(i.written)
				continue
			}
			text := i.line
			if missed := lost + i.missed; missed > 0 {
				text = append(q.noticeOf(missed), text...)
			}
			if broken {
				text = append([]byte{'\n'}, text...)
			}
			n, err := q.out.Write(text)
			q.bytes.Add(-int64(len(i.line)))
			if err != nil {
				q.dropped.Add(1)
				lost += i.missed + 1
				broken = broken && n == 0 || n > 0 && text[n-1] != '\n'
				continue
			}
			lost, broken = 0, false
		}
	}
}

func (q *Queue) noticeOf(missed uint64) []byte {
	notice := q.notice.Load()
	if notice == nil {
		return nil
	}
	return (*notice)(missed)
}
