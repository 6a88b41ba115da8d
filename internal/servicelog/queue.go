package servicelog

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

// Limits of a Queue: a second or two of a busy service's log.
const (
	maxLines = 8192
	maxBytes = 2 << 20
)

// Queue is a bounded queue of lines in front of a writer that may block for ever
// or fail. One goroutine writes them.
type Queue struct {
	out    io.Writer
	items  chan item
	bytes  atomic.Int64 // in items, and in the line being written
	closed chan struct{}

	missed  atomic.Uint64 // dropped since a line was last accepted
	dropped atomic.Uint64 // since the start

	notice atomic.Pointer[func(dropped uint64) []byte]
}

// item is a line, or a request to be told when the lines before it are written.
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

// Writer returns what the lines are written to.
func (q *Queue) Writer() io.Writer { return q.out }

// SetNotice sets what is written before the next line once lines were dropped: a
// line of the log's own format that gives their number. Without it nothing is.
func (q *Queue) SetNotice(notice func(dropped uint64) []byte) { q.notice.Store(&notice) }

// Dropped is the number of lines that were dropped so far, or that the writer did
// not take.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Write queues one line. It implements [io.Writer], for a handler that writes
// each line by one call.
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

// Flush waits until everything queued so far is written, for no longer than
// patience. It reports whether that was long enough.
func (q *Queue) Flush(patience time.Duration) bool {
	timer := time.NewTimer(patience)
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

// Close flushes, and ends the goroutine unless the writer holds it. Lines that
// are written afterwards are lost. It must be called once.
func (q *Queue) Close(patience time.Duration) bool {
	flushed := q.Flush(patience)
	close(q.closed)
	return flushed
}

func (q *Queue) run() {
	var (
		lost   uint64 // lines that the writer did not take, not yet reported
		broken bool   // the writer stopped within a line
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
