package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/internal/recording"
)

const (
	// tailPage is the maximum number of events that Next returns.
	tailPage = 1000
	// tailWindow is how many ids below the newest event may still be missing
	// when a Tail begins. Open recordings cannot have drawn nearly as many.
	tailWindow = 50_000
)

// Tail follows events as they are recorded. It returns each exactly once, even
// if transactions commit in another order than their ids. It is for one
// goroutine.
//
// An id without an event may belong to an open transaction. Such a transaction
// locked the table before it drew the id, and keeps its lock until the event is
// visible. Tail therefore remembers missing ids, and the transactions that held
// such a lock afterwards. It reads the ids again when one of these transactions
// has ended. When all have ended, it drops them.
type Tail struct {
	store   *Store
	filter  EventFilter
	newest  int64 // highest id seen
	missing []missingIDs
	unread  []int64 // ids of events that Next has not returned yet
}

// missingIDs are ids that were found missing at one time: empty ranges,
// ascending.
type missingIDs struct {
	low, high []int64
	holders   []string // virtual ids of transactions that may still insert these ids
	known     bool     // whether holders has been read
}

// NewTail returns the newest events that match, and a Tail for the events after
// them. It uses Source, EventType and SignatureRequestID of the filter. Limit
// is the number of events to begin with, and may be 0.
func (s *Store) NewTail(ctx context.Context, f EventFilter) (*Tail, []EventSummary, error) {
	t := &Tail{store: s, filter: f}
	var ids []int64
	err := s.pool.QueryRow(ctx, `
		WITH newest AS (SELECT coalesce(max(id), 0) AS id FROM lumin.events)
		SELECT newest.id, ARRAY(SELECT e.id FROM lumin.events e WHERE e.id > newest.id - $1::bigint ORDER BY e.id) FROM newest`,
		int64(tailWindow)).Scan(&t.newest, &ids)
	if err != nil {
		return nil, nil, fmt.Errorf("find the newest event: %w", err)
	}
	var events []EventSummary
	if f.Limit > 0 {
		f.lastID = t.newest
		if events, err = s.ListEvents(ctx, f); err != nil {
			return nil, nil, err
		}
		slices.Reverse(events)
	}
	// Some of these events may have been recorded since the ids were read.
	for _, e := range events {
		if e.ID > t.newest-tailWindow {
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	t.addMissing(max(t.newest-tailWindow, 0), t.newest, ids)
	return t, events, nil
}

// Next returns the events recorded since the last call, in the order of their
// ids: at most 1,000, or none. After an error it may be called again and
// continues.
func (t *Tail) Next(ctx context.Context) ([]EventSummary, error) {
	for len(t.unread) == 0 {
		more, err := t.poll(ctx)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if len(t.unread) == 0 {
		return nil, nil
	}
	page := t.unread[:min(len(t.unread), tailPage)]
	events, err := t.store.eventsByID(ctx, page)
	if err != nil {
		return nil, err
	}
	t.unread = t.unread[len(page):]
	return events, nil
}

// noBackend begins the virtual id of a prepared transaction that has survived a
// restart of the server.
const noBackend = "-1/"

const tailPollSQL = `
SELECT e.id,
       ($4 = '' OR e.source = $4) AND ($5 = '' OR coalesce(e.event_type = $5, false))
       AND ($6 = '' OR coalesce(e.signature_request_id = $6, false)) AND (NOT $7 OR e.late)
FROM unnest($1::bigint[], $2::bigint[]) AS r (low, high)
CROSS JOIN LATERAL (
    SELECT id, source, event_type, signature_request_id, late FROM lumin.events WHERE id BETWEEN r.low AND r.high
    ORDER BY id LIMIT CASE WHEN r.high = 9223372036854775807 THEN $3::bigint END
) e
ORDER BY e.id`

// poll reads the events above the newest, and the missing ids that may have
// been inserted. It reports whether it stopped at a full page.
func (t *Tail) poll(ctx context.Context) (more bool, err error) {
	transactions, err := recording.Open(ctx, t.store.pool)
	if err != nil {
		return false, err
	}
	var low, high []int64
	remaining := make([]missingIDs, len(t.missing))
	reread := make([]bool, len(t.missing))
	for i, m := range t.missing {
		open, ended := m.stillOpen(transactions)
		reread[i] = ended
		if reread[i] {
			low, high = append(low, m.low...), append(high, m.high...)
		}
		remaining[i] = missingIDs{low: m.low, high: m.high, holders: open, known: true}
	}
	// The list of transactions was read first. So this sees every event of a
	// transaction that is no longer on it.
	ids, matching, err := t.read(ctx, append(low, t.newest+1), append(high, math.MaxInt64))
	if err != nil {
		return false, err
	}
	above, _ := slices.BinarySearch(ids, t.newest+1)
	t.missing = t.missing[:0]
	for i, m := range remaining {
		if len(m.holders) == 0 {
			continue // no open transaction can insert these ids
		}
		if reread[i] {
			m = m.without(ids[:above])
		}
		if len(m.low) > 0 {
			t.missing = merged(t.missing, m)
		}
	}
	if above < len(ids) {
		t.addMissing(t.newest, ids[len(ids)-1], ids[above:])
		t.newest = ids[len(ids)-1]
	}
	t.unread = matching
	return len(ids)-above == tailPage, nil
}

// merged adds ids to those that the same transactions may insert, if there are any.
// So there are few of them, however long a transaction stays open.
func merged(all []missingIDs, m missingIDs) []missingIDs {
	for i, other := range all {
		if other.known && m.known && len(other.holders) == len(m.holders) &&
			!slices.ContainsFunc(m.holders, func(holder string) bool { return !slices.Contains(other.holders, holder) }) {
			all[i].low, all[i].high = slices.Concat(other.low, m.low), slices.Concat(other.high, m.high)
			// The ranges do not overlap, so both lists have the same order.
			slices.Sort(all[i].low)
			slices.Sort(all[i].high)
			return all
		}
	}
	return append(all, m)
}

// stillOpen returns the open transactions that may insert these ids. ended
// reports whether another one that could has ended.
func (m missingIDs) stillOpen(transactions []string) (open []string, ended bool) {
	if !m.known {
		return transactions, true // the list was read after the ids were found missing
	}
	// A prepared transaction survives a restart of its server, but with another
	// virtual id. It may be any of the transactions that have ended.
	open = slices.DeleteFunc(slices.Clone(transactions), func(holder string) bool {
		return !slices.Contains(m.holders, holder) && !strings.HasPrefix(holder, noBackend)
	})
	ended = slices.ContainsFunc(m.holders, func(holder string) bool { return !slices.Contains(open, holder) })
	return open, ended
}

// read returns the ids of the events in these ranges, ascending, and the ids of
// those that match the filter.
func (t *Tail) read(ctx context.Context, low, high []int64) (ids, matching []int64, err error) {
	var (
		id      int64
		matches bool
	)
	err = query.Each(ctx, t.store.pool, "read new events", []any{&id, &matches}, func() error {
		ids = append(ids, id)
		if matches {
			matching = append(matching, id)
		}
		return nil
	}, tailPollSQL, low, high, tailPage, t.filter.Source, t.filter.EventType, t.filter.SignatureRequestID, t.filter.Late)
	return ids, matching, err
}

// addMissing remembers the ids after one and up to another, except those
// present.
func (t *Tail) addMissing(after, upTo int64, present []int64) {
	m := missingIDs{low: []int64{after + 1}, high: []int64{upTo}}.without(present)
	if len(m.low) > 0 {
		t.missing = append(t.missing, m)
	}
}

// without removes ids, which are ascending, from the ranges.
func (m missingIDs) without(ids []int64) missingIDs {
	remaining := missingIDs{holders: m.holders, known: m.known}
	for i, low := range m.low {
		from, _ := slices.BinarySearch(ids, low)
		for _, id := range ids[from:] {
			if id > m.high[i] {
				break
			}
			if id > low {
				remaining.low, remaining.high = append(remaining.low, low), append(remaining.high, id-1)
			}
			low = id + 1
		}
		if low <= m.high[i] {
			remaining.low, remaining.high = append(remaining.low, low), append(remaining.high, m.high[i])
		}
	}
	return remaining
}
