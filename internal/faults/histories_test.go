//go:build unix

package faults

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/faults/history"
	"lumin-ingest/lumin"
)

// The file of a ledger says what was sent and answered, and what may still
// happen.
func TestDeliveriesOfLedger(t *testing.T) {
	t.Parallel()
	l := newTestLedger(t)
	at := func(second int) time.Time { return time.Unix(int64(second), 0).UTC() }
	d := &Delivery{Key: lumin.EventKey{1}, Source: appSource}
	l.answerLater(d, at(1), time.Second, answer{status: 503})
	l.answerLater(d, at(3), time.Second, answer{})
	l.answerLater(d, at(5), time.Second, answer{status: 200, id: 7})
	l.answerLater(d, at(7), time.Second, answer{status: 503}) // after the 200
	l.answerLater(d, at(9), time.Second, answer{status: 200, id: 7})
	l.attempt(&Delivery{Key: lumin.EventKey{2}, Source: accountSource}, at(11)) // without any answer
	l.answerLater(&Delivery{Key: lumin.EventKey{3}, Source: accountSource, Forged: true}, at(1), time.Second, answer{status: 401})
	got := histories{}
	if err := got.addDeliveries(l); err != nil {
		t.Fatal(err)
	}
	want := histories{
		lumin.EventKey{1}: {
			{Action: history.Deliver, Source: 1, ID: 7, Began: at(5), Ended: at(6)},
			{Action: history.Deliver, Source: 1, ID: 7, Began: at(9), Ended: at(10)},
			{Action: history.Deliver, Source: 1, ID: history.Unknown, Began: at(1), Ended: history.Open},
		},
		lumin.EventKey{2}: {{Action: history.Deliver, ID: history.Unknown, Began: at(11), Ended: history.Open}},
	}
	if len(got) != len(want) {
		t.Errorf("%d histories, want %d", len(got), len(want))
	}
	for key := range want {
		if !slices.Equal(got[key], want[key]) {
			t.Errorf("event %s:\n%swant\n%s", key, got[key], want[key])
		}
	}
}

// The histories of a correct run are explained. That of an event that was
// acknowledged and is not stored is not.
func TestHistories(t *testing.T) {
	t.Parallel()
	conn := correctDatabase(t)
	r := &runner{ledger: newTestLedger(t), replays: newReplays(nil, nil, 1), looks: newLooks(nil, nil, 1)}
	rows, err := conn.Query(t.Context(), `SELECT event_key, source, id, event_time FROM lumin.events ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	var (
		d    Delivery
		id   int64
		sent time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&d.Key), &d.Source, &id, &sent}, func() error {
		r.ledger.answerLater(&d, sent, time.Second, answer{status: 200, id: id})
		r.replays.asked[d.Key] = []time.Time{sent}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.looks.look(t.Context(), conn, []lumin.EventKey{d.Key}); err != nil {
		t.Fatal(err)
	}
	check := func() (histories, *Result) {
		t.Helper()
		var result Result
		all, err := r.histories(t.Context(), conn)
		if err == nil {
			err = checkHistories(t.Context(), all, &result)
		}
		if err != nil {
			t.Fatal(err)
		}
		return all, &result
	}
	all, result := check()
	// Each event has an order, a claim and an effect per job type, and the last look.
	result.Histories.Longest, result.Histories.Took = 0, 0
	if want := (Histories{Events: 4, Operations: 5 + 4*(1+2*3+1) + 1, Most: 11}); result.Histories != want || len(result.Violations) > 0 {
		t.Errorf("%+v, want %+v", result, want)
	}
	if ways, err := all.falsify(); err != nil || ways < 10 {
		t.Errorf("%d falsifications: %v", ways, err)
	}
	r.ledger.answerLater(&Delivery{Key: lumin.EventKey{9}, Source: accountSource}, sent, time.Second, answer{status: 200, id: 99})
	_, result = check()
	if len(result.Violations) != 1 || result.Violations[0].Count != 1 || result.Violations[0].Checker != Linearizable ||
		!strings.Contains(result.Violations[0].String(), "answered 200 with id 99") {
		t.Errorf("after the loss of an event: %v", result.Violations)
	}
}
