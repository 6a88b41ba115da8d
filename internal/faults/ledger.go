//go:build unix

package faults

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"lumin-ingest/lumin"
)

// Delivery is one body as one source sends it.
type Delivery struct {
	Key    lumin.EventKey
	Source string
	Body   []byte
	Forged bool // signed with a key that is not the source's
}

// Ledger records what the clients saw: every attempt at a delivery and its
// answer. It is a file of JSON lines to which lines are only appended. Each
// attempt is written before it is made, so attempts without an answer are
// recorded too.
type Ledger struct {
	mu         sync.Mutex
	file       *os.File
	lines      *json.Encoder
	deliveries map[identity]*entry
	open       map[identity]time.Time // when the first attempt was made, for deliveries that were never answered 200
	acks       []ack
	answers    []timedAnswer // of all attempts with a valid signature, in the order of their ends
	stops      []*stop
	unexpected []string
	attempts   int
	err        error
}

// stop is a period in which the program with this URL was stopped.
type stop struct {
	url      string
	from, to time.Time // to is zero until the program goes on
}

type identity struct {
	key    lumin.EventKey
	source string
}

// entry is the state of one delivery.
type entry struct {
	sha256   [32]byte
	body     []byte
	forged   bool
	attempts int
	acks     int
	id       int64      // of the first 200
	acked    *time.Time // when the first 200 was received
}

// timedAnswer is the answer to an attempt with its times.
type timedAnswer struct {
	ack
	status   int
	delivery identity
	again    bool          // the delivery had been answered 200 before
	took     time.Duration // without the time in which the program was stopped
}

// ack is one 200 of the program with this URL.
type ack struct {
	sent, answered time.Time
	url            string
}

// line is one line of the file. An attempt first has a line without a status
// and then one with the status of its answer. 0 means that there was no answer.
type line struct {
	At      time.Time      `json:"at"`
	Event   lumin.EventKey `json:"event"`
	Source  string         `json:"source"`
	Attempt int            `json:"attempt"`
	Status  *int           `json:"status,omitempty"`
	ID      int64          `json:"id,omitempty"`
	TookMS  int64          `json:"took_ms,omitempty"`
	Forged  bool           `json:"forged,omitempty"`
}

// answer is the answer to an attempt.
type answer struct {
	status int // 0 if there was no answer
	id     int64
	code   string
	url    string // of the program that was asked
}

// NewLedger creates a ledger in a new file.
func NewLedger(path string) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a ledger: %w", err)
	}
	return &Ledger{file: file, lines: json.NewEncoder(file), deliveries: map[identity]*entry{}, open: map[identity]time.Time{}}, nil
}

// Close closes the file and returns the first error that writing to it had.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.file.Close())
}

// attempt records that a delivery is about to be sent. It returns the number of
// the attempt, starting at 1.
func (l *Ledger) attempt(d *Delivery, at time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.deliveries[identity{d.Key, d.Source}]
	if known == nil {
		known = &entry{sha256: sha256.Sum256(d.Body), body: d.Body, forged: d.Forged}
		l.deliveries[identity{d.Key, d.Source}] = known
		if !d.Forged {
			l.open[identity{d.Key, d.Source}] = at
		}
	}
	known.attempts++
	l.attempts++
	l.write(line{At: at, Event: d.Key, Source: d.Source, Attempt: known.attempts, Forged: d.Forged})
	return known.attempts
}

// answered records the answer to an attempt.
func (l *Ledger) answered(d *Delivery, attempt int, sent, at time.Time, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(line{
		At: at, Event: d.Key, Source: d.Source, Attempt: attempt, Status: &a.status, ID: a.id,
		TookMS: at.Sub(sent).Milliseconds(), Forged: d.Forged,
	})
	took := at.Sub(sent) - l.stoppedFor(a.url, sent, at)
	if a.status != 0 && took > answerBound {
		l.reportUnexpected("%s of %s was answered %d after %s", d.Key, d.Source, a.status, took)
	}
	known := l.deliveries[identity{d.Key, d.Source}]
	if !d.Forged {
		l.answers = append(l.answers, timedAnswer{ack{sent, at, a.url}, a.status, identity{d.Key, d.Source}, known.acks > 0, took})
	}
	switch {
	case d.Forged && a.status == 200:
		l.reportUnexpected("forged delivery %s of %s was answered 200", d.Key, d.Source)
	case a.status == 200 && a.id <= 0:
		l.reportUnexpected("%s of %s was answered 200 without the id of an event", d.Key, d.Source)
	case a.status == 200 && known.acks > 0 && known.id != a.id:
		l.reportUnexpected("%s of %s was answered with event %d and later with event %d", d.Key, d.Source, known.id, a.id)
	case a.status == 200:
		if known.id = a.id; known.acked == nil {
			known.acked = &at
		}
		known.acks++
		delete(l.open, identity{d.Key, d.Source})
		l.acks = append(l.acks, ack{sent, at, a.url})
	case a.status != 0 && a.status != 503 && !d.Forged, d.Forged && a.status != 0 && a.status != 503 && a.status != 401:
		l.reportUnexpected("%s of %s was answered %d %s", d.Key, d.Source, a.status, a.code)
	}
}

// answerBound is how long an answer may take. Lumin waits for 30 s. A program
// cannot answer while it is stopped, so that time does not count.
const answerBound = 25 * time.Second

// stopping notes that the program with this URL is being stopped. goesOn must be
// called once it goes on.
func (l *Ledger) stopping(url string) (goesOn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := &stop{url: url, from: time.Now()}
	l.stops = append(l.stops, one)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		one.to = time.Now()
	}
}

// stoppedFor returns how long the program with this URL was stopped in a period.
func (l *Ledger) stoppedFor(url string, from, to time.Time) (total time.Duration) {
	for _, s := range l.stops {
		if s.url != url {
			continue
		}
		begin, end := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if end.IsZero() || end.After(to) {
			end = to
		}
		total += max(end.Sub(begin), 0)
	}
	return total
}

// reportUnexpected records an answer that must not happen. The caller holds the
// lock.
func (l *Ledger) reportUnexpected(format string, args ...any) {
	l.unexpected = append(l.unexpected, fmt.Sprintf(format, args...))
}

// write appends to the file. The caller holds the lock.
func (l *Ledger) write(one line) {
	if err := l.lines.Encode(one); err != nil && l.err == nil {
		l.err = fmt.Errorf("write to the ledger: %w", err)
	}
}

// firstAck returns the time of the first 200 to a delivery that was sent after
// a given time.
func (l *Ledger) firstAck(after time.Time) (time.Time, bool) { return l.firstAckOf("", after) }

// firstAckOf is firstAck of the program with this URL. Empty means any.
func (l *Ledger) firstAckOf(url string, after time.Time) (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The acknowledgments are in the order of their answers.
	low := len(l.acks)
	for low > 0 && l.acks[low-1].answered.After(after) {
		low--
	}
	for _, a := range l.acks[low:] {
		if a.sent.After(after) && (url == "" || a.url == url) {
			return a.answered, true
		}
	}
	return time.Time{}, false
}

// unanswered counts the deliveries that were first sent before a given time and
// are still being repeated.
func (l *Ledger) unanswered(before time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, since := range l.open {
		if !since.After(before) {
			count++
		}
	}
	return count
}

// sent returns a delivery that was sent.
func (l *Ledger) sent(id identity) *Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &Delivery{Key: id.key, Source: id.source, Body: l.deliveries[id].body}
}

// Counts are totals of a ledger.
type Counts struct {
	Deliveries   int // distinct, without forged ones
	Acknowledged int // of these
	Attempts     int
	Redelivered  int // 200s after the first one
}

// Counts returns the totals so far.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Counts{Attempts: l.attempts}
	for _, known := range l.deliveries {
		if known.forged {
			continue
		}
		c.Deliveries++
		if known.acks > 0 {
			c.Acknowledged++
			c.Redelivered += known.acks - 1
		}
	}
	return c
}

// Unexpected lists the answers that must not happen: a 200 to a forged
// delivery, an error other than 503, a late answer, and another event id for a
// redelivery.
func (l *Ledger) Unexpected() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.unexpected...)
}

// rows lists the deliveries for the checks.
func (l *Ledger) rows() [][]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := make([][]any, 0, len(l.deliveries))
	for id, known := range l.deliveries {
		rows = append(rows, []any{[16]byte(id.key), id.source, known.sha256[:], known.forged, known.acks, known.attempts, known.id, known.acked})
	}
	return rows
}
