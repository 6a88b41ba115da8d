//go:build unix

package faults

import (
	"strings"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

// Locks that no delivery meets are a problem, and so is a delivery that does not
// wait for them or is not answered once they end.
func TestJudgeLocked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile int // the answer during the lock
		again     int // locked events that were answered 200 afterwards
		want      string
	}{
		"waited":                {503, 1, ""},
		"did not wait":          {200, 1, "answered 200 meanwhile is 1"},
		"no answer meanwhile":   {0, 1, "answered 503 is 0"},
		"not answered 200 ever": {503, 0, "answered 200 afterwards is 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestScene(t)
			d := &Delivery{Key: lumin.EventKey{1}, Source: accountSource}
			s.from, s.to, s.locked = s.started, s.started.Add(time.Minute), map[identity]bool{{d.Key, d.Source}: true}
			s.ledger.answerLater(d, s.from.Add(-time.Second), time.Millisecond, answer{status: 200, id: 1})
			s.ledger.answerLater(d, s.from.Add(time.Second), time.Second, answer{status: c.meanwhile, id: 1})
			s.ledger.answerLater(d, s.to.Add(-time.Second), 2*time.Second, answer{status: 200, id: 1})
			s.ledger.answerLater(&Delivery{Key: d.Key, Source: appSource}, s.from.Add(time.Second), time.Second, answer{status: 200, id: 2})
			s.repeated.Store(int32(c.again))
			s.judgeLocked("row locks")
			got := strings.Join(s.problems, "\n")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("problems %q, want %q", got, c.want)
			}
		})
	}
}
