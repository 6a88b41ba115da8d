//go:build unix

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/faults/history"
	"lumin-ingest/lumin"
)

// Linearizable is the invariant that histories are checked for. The other ones
// compare what is left at the end.
const Linearizable = "H: all that was seen of an event during the run can have happened one after the other"

// histories are those of all events of a run.
type histories map[lumin.EventKey]history.History

// add adds an operation to the history of an event.
func (h histories) add(key lumin.EventKey, o history.Operation) { h[key] = append(h[key], o) }

// histories returns all that was seen of each event until now. The last
// operation of each history is a look at the current state.
//
// The clients' times and the servers' are of one clock, because all run on this
// machine. The program may be at work. So all that a look has seen must be read
// after it: effects, deliveries and orders.
func (r *runner) histories(ctx context.Context, conn *pgx.Conn) (histories, error) {
	all := histories{}
	before, err := readEffects(ctx, conn)
	if err != nil {
		return nil, err
	}
	done := time.Now()
	for _, key := range r.ledger.keys() {
		all[key] = nil
	}
	for one := range before {
		all[one.key] = nil
	}
	all.addLooks(r.looks)
	final, err := readEvents(ctx, conn, slices.Collect(maps.Keys(all)))
	if err != nil {
		return nil, fmt.Errorf("look at all events: %w", err)
	}
	effects, err := readEffects(ctx, conn)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for one, count := range effects {
		ended := now
		if before[one] == count {
			ended = done
		}
		for range count {
			all.addEffect(one, ended)
		}
	}
	for key, times := range r.replays.reruns() {
		for _, at := range times {
			all.add(key, history.Operation{Action: history.Order, Began: at, Ended: history.Open})
		}
	}
	if err := all.addDeliveries(r.ledger); err != nil {
		return nil, err
	}
	for key, o := range final {
		all.add(key, o)
	}
	for key := range all {
		if _, looked := final[key]; !looked {
			delete(all, key) // it came after the look
		}
	}
	return all, nil
}

func (h histories) addLooks(l *looks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, seen := range l.seen {
		h[key] = append(h[key], seen...)
	}
}

// seenEffect is a row of faults.effects. Its times are in microseconds.
type seenEffect struct {
	key         lumin.EventKey
	kind, rerun int
	began, at   int64
}

// readEffects counts the rows of faults.effects that are equal. Even if an effect
// took place twice, they differ in their times.
func readEffects(ctx context.Context, conn *pgx.Conn) (map[seenEffect]int, error) {
	rows, err := conn.Query(ctx, `SELECT event_key, job_kind, rerun, tx_began, at FROM faults.effects`)
	if err != nil {
		return nil, fmt.Errorf("read effects: %w", err)
	}
	var (
		counts    = map[seenEffect]int{}
		one       seenEffect
		kind      string
		began, at time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{(*[16]byte)(&one.key), &kind, &one.rerun, &began, &at}, func() error {
		if one.kind = slices.Index(effectKinds, kind); one.kind < 0 {
			return fmt.Errorf("unknown job type %q", kind)
		}
		one.began, one.at = began.UnixMicro(), at.UnixMicro()
		counts[one]++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read effects: %w", err)
	}
	return counts, nil
}

// addEffect adds an effect that was committed by the time ended, and the claim
// before it. Its transaction claimed the run after its begin and before its
// effect. It was committed after the effect.
func (h histories) addEffect(one seenEffect, ended time.Time) {
	at := time.UnixMicro(one.at)
	h.add(one.key, history.Operation{
		Action: history.Claim, Kind: one.kind, Rerun: one.rerun, Began: time.UnixMicro(one.began),
		Ended: at.Add(time.Microsecond), // the server rounds down
	})
	h.add(one.key, history.Operation{Action: history.Effect, Kind: one.kind, Rerun: one.rerun, Began: at, Ended: ended})
}

// addDeliveries adds the deliveries in the ledger's file. An attempt without a
// 200 may be recorded at any time after it was sent. Only the first such attempt
// of a source matters, and only if it was sent before a 200 was received: later
// ones could not change anything.
func (h histories) addDeliveries(l *Ledger) error {
	type attempt struct {
		identity
		number int
	}
	sent, refused, acked := map[attempt]time.Time{}, map[identity]time.Time{}, map[identity]time.Time{}
	note := func(first map[identity]time.Time, id identity, at time.Time) {
		if known, found := first[id]; !found || at.Before(known) {
			first[id] = at
		}
	}
	err := l.read(func(one line) {
		a := attempt{identity{one.Event, one.Source}, one.Attempt}
		switch {
		case one.Forged:
		case one.Status == nil:
			sent[a] = one.At
		case *one.Status == 200:
			h.add(one.Event, history.Operation{
				Action: history.Deliver, Source: slices.Index(sources, one.Source), ID: one.ID, Began: sent[a], Ended: one.At,
			})
			note(acked, a.identity, one.At)
			delete(sent, a)
		default:
			note(refused, a.identity, sent[a])
			delete(sent, a)
		}
	})
	if err != nil {
		return err
	}
	for a, at := range sent { // without any answer
		note(refused, a.identity, at)
	}
	for id, at := range refused {
		if first, found := acked[id]; !found || at.Before(first) {
			h.add(id.key, history.Operation{
				Action: history.Deliver, Source: slices.Index(sources, id.source), ID: history.Unknown, Began: at, Ended: history.Open,
			})
		}
	}
	return nil
}

// keys returns the events that were sent.
func (l *Ledger) keys() []lumin.EventKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	keys := make([]lumin.EventKey, 0, len(l.deliveries))
	for id := range l.deliveries {
		keys = append(keys, id.key)
	}
	return keys
}

// read calls f for each line of the ledger's file until now.
func (l *Ledger) read(f func(line)) error {
	l.mu.Lock()
	info, err := l.file.Stat()
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	file, err := os.Open(l.file.Name())
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	defer file.Close()
	for lines := json.NewDecoder(io.LimitReader(file, info.Size())); ; {
		var one line
		err := lines.Decode(&one)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		f(one)
	}
}

// checkHistories checks the history of each event, and stores in result how
// much there was to check.
func checkHistories(ctx context.Context, all histories, result *Result) error {
	start := time.Now()
	checked, err := history.Check(ctx, all)
	result.Histories = Histories{
		Events: checked.Events, Operations: checked.Operations, Most: checked.Most, Longest: checked.Longest, Took: time.Since(start),
	}
	if len(checked.Unexplained) > 0 {
		v := Violation{Checker: Linearizable, Count: len(checked.Unexplained)}
		for _, key := range checked.Unexplained[:min(v.Count, violationsShown)] {
			v.Samples = append(v.Samples, fmt.Sprintf("event %s; sources %v, job types %v\n%s", key, sources, effectKinds, all[key]))
		}
		result.Violations = append(result.Violations, v)
	}
	return err
}

// falsify falsifies one history that is complete, and returns in how many ways.
func (h histories) falsify() (int, error) {
	for _, one := range h {
		if one.Complete() {
			return history.Falsify(one)
		}
	}
	return 0, errors.New("no event has a history that could be falsified")
}
