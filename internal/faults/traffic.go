//go:build unix

package faults

import (
	"slices"
	"time"
)

// traffic summarizes the attempts of a period.
type traffic struct {
	answered int           // 200
	refused  int           // 503, or another answer that the ledger reports
	silent   int           // no answer
	p99      time.Duration // of the answers 200
	worst    time.Duration // of all answers, without the time in which the program was stopped
	waited   time.Duration // by a client for an answer, with that time
}

// failed counts the attempts that were not answered 200.
func (t traffic) failed() int { return t.refused + t.silent }

// traffic summarizes the attempts with a valid signature that were sent in a
// period and have ended. It must be read when all of them have, or else the
// slowest are missing: after a recovery, all deliveries have been answered. With
// except, the deliveries for which it holds do not count.
func (l *Ledger) traffic(from, to time.Time, except func(identity) bool) traffic {
	l.mu.Lock()
	defer l.mu.Unlock()
	var t traffic
	var took []time.Duration
	for _, a := range l.answers {
		if a.sent.Before(from) || !a.sent.Before(to) || except != nil && except(a.delivery) {
			continue
		}
		length := a.answered.Sub(a.sent)
		switch a.status {
		case 0:
			t.silent++
			continue
		case 200:
			t.answered++
			took = append(took, length)
		default:
			t.refused++
		}
		t.worst, t.waited = max(t.worst, a.took), max(t.waited, length)
	}
	if slices.Sort(took); len(took) > 0 {
		t.p99 = took[(len(took)*99-1)/100]
	}
	return t
}

// answeredWithin counts the attempts with a valid signature that were sent and
// answered in a period, by the status of the answer. of chooses the deliveries.
func (l *Ledger) answeredWithin(from, to time.Time, of func(identity) bool) map[int]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := map[int]int{}
	for _, a := range l.answers {
		if of(a.delivery) && !a.sent.Before(from) && a.answered.Before(to) {
			counts[a.status]++
		}
	}
	return counts
}

// firstAcks counts the 200s in a period to deliveries that had never been
// answered 200.
func (l *Ledger) firstAcks(from, to time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := 0
	for _, a := range l.answers {
		if a.status == 200 && !a.again && !a.sent.Before(from) && a.answered.Before(to) {
			count++
		}
	}
	return count
}

// acknowledgedSince returns the deliveries whose first 200 was not among the
// first n ones.
func (l *Ledger) acknowledgedSince(n int) (keys [][16]byte, sources []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.answers {
		if a.status != 200 || a.again {
			continue
		}
		if n--; n < 0 {
			keys, sources = append(keys, a.delivery.key), append(sources, a.delivery.source)
		}
	}
	return keys, sources
}
