//go:build unix

package faults

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

func newTestLedger(t *testing.T) *Ledger {
	t.Helper()
	l, err := NewLedger(filepath.Join(t.TempDir(), "ledger.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// answerLater records an attempt and, after a while, its answer.
func (l *Ledger) answerLater(d *Delivery, sent time.Time, took time.Duration, a answer) {
	l.answered(d, l.attempt(d, sent), sent, sent.Add(took), a)
}

func TestLedger(t *testing.T) {
	t.Parallel()
	l := newTestLedger(t)
	start := time.Now()
	d := &Delivery{Key: lumin.EventKey{1}, Source: accountSource, Body: []byte("{}")}
	l.answerLater(d, start, time.Second, answer{})
	l.answerLater(d, start.Add(time.Second), time.Second, answer{status: 503})
	if n := l.unanswered(start); n != 1 {
		t.Errorf("%d deliveries are unanswered, want 1", n)
	}
	l.answerLater(d, start.Add(2*time.Second), time.Second, answer{status: 200, id: 7})
	l.answerLater(d, start.Add(4*time.Second), time.Second, answer{status: 200, id: 7})
	if n := l.unanswered(start.Add(time.Hour)); n != 0 {
		t.Errorf("%d deliveries are unanswered, want 0", n)
	}
	if got, want := l.Counts(), (Counts{Deliveries: 1, Acknowledged: 1, Attempts: 4, Redelivered: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	// A 200 to a delivery that was sent during the fault does not prove that
	// deliveries succeed again.
	if at, found := l.firstAck(start.Add(2500 * time.Millisecond)); !found || !at.Equal(start.Add(5*time.Second)) {
		t.Errorf("first 200 at %s, %t", at.Sub(start), found)
	}
	if _, found := l.firstAck(start.Add(4 * time.Second)); found {
		t.Error("a 200 was found that no client received")
	}
	if got := l.Unexpected(); len(got) > 0 {
		t.Errorf("complaints: %q", got)
	}
}

// The time in which a program was stopped does not count, but only for answers of
// this program.
func TestLedgerOfStoppedProgram(t *testing.T) {
	t.Parallel()
	l := newTestLedger(t)
	stopped, start := "http://a", time.Now()
	goesOn := l.stopping(stopped)
	l.stops[0].from = start.Add(2 * time.Second)
	ask := func(n byte, url string, took time.Duration) {
		d := &Delivery{Key: lumin.EventKey{n}, Source: accountSource}
		l.answerLater(d, start, took, answer{status: 200, id: int64(n), url: url})
	}
	ask(1, stopped, 29*time.Second) // while it is being continued
	goesOn()
	l.stops[0].to = start.Add(20 * time.Second)
	ask(2, stopped, 42*time.Second)
	if got := l.Unexpected(); len(got) > 0 {
		t.Errorf("complaints: %q", got)
	}
	if got := l.traffic(start, start.Add(time.Second), nil).worst; got != 24*time.Second {
		t.Errorf("the slowest answer took %s of the time in which the program ran", got)
	}
	ask(3, stopped, 44*time.Second)
	ask(4, "http://b", 26*time.Second)
	if got := l.Unexpected(); len(got) != 2 {
		t.Errorf("complaints: %q", got)
	}
}

func TestLedgerReportsUnexpected(t *testing.T) {
	t.Parallel()
	now := time.Now()
	honest := Delivery{Key: lumin.EventKey{1}, Source: accountSource}
	forged := Delivery{Key: lumin.EventKey{2}, Source: accountSource, Forged: true}
	for _, c := range []struct {
		name    string
		d       Delivery
		took    time.Duration
		answers []answer
		want    string // empty if no complaint is expected
	}{
		{"forged and refused", forged, 0, []answer{{status: 401}, {status: 503}, {}}, ""},
		{"forged and taken", forged, 0, []answer{{status: 200, id: 1}}, "was answered 200"},
		{"forged and an error", forged, 0, []answer{{status: 500}}, "was answered 500"},
		{"refused", honest, 0, []answer{{status: 401, code: "signature_mismatch"}}, "401 signature_mismatch"},
		{"another id", honest, 0, []answer{{status: 200, id: 1}, {status: 200, id: 2}}, "later with event 2"},
		{"no id", honest, 0, []answer{{status: 200}}, "without the id"},
		{"late", honest, 26 * time.Second, []answer{{status: 503}}, "after 26s"},
		{"no answer at all", honest, 28 * time.Second, []answer{{}}, ""},
	} {
		l := newTestLedger(t)
		for _, a := range c.answers {
			l.answerLater(&c.d, now, c.took, a)
		}
		got := strings.Join(l.Unexpected(), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: complaints %q, want %q", c.name, got, c.want)
		}
	}
}

// An attempt is written to the file before its answer.
func TestLedgerFile(t *testing.T) {
	t.Parallel()
	l := newTestLedger(t)
	d := &Delivery{Key: lumin.EventKey{1}, Source: appSource}
	now := time.Now()
	l.attempt(d, now)
	l.answerLater(d, now, time.Second, answer{status: 200, id: 7})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(l.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var got []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var one line
		if err := json.Unmarshal(scanner.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		if one.Status != nil && (*one.Status != 200 || one.ID != 7 || one.TookMS != 1000) {
			t.Errorf("an answer is written down as %s", scanner.Text())
		}
		got = append(got, map[bool]string{true: "answer", false: "attempt"}[one.Status != nil])
	}
	if text := strings.Join(got, ","); text != "attempt,attempt,answer" {
		t.Errorf("the file has %s", text)
	}
}

func TestCalls(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.jsonl")
	if calls, err := readCalls(path); err != nil || len(calls) != 0 {
		t.Errorf("calls of a file that is not there: %v, %v", calls, err)
	}
	for _, rerun := range []int{0, 0, 1} {
		if err := NoteCall(path, lumin.EventKey{1}, rerun); err != nil {
			t.Fatal(err)
		}
	}
	calls, err := readCalls(path)
	if err != nil || calls[call{lumin.EventKey{1}, 0}] != 2 || calls[call{lumin.EventKey{1}, 1}] != 1 {
		t.Errorf("calls %v, %v", calls, err)
	}
}
