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
	// tailPage is how many events Next returns at most.
	tailPage = 1000
	// tailWindow is how many ids below the newest event may still be missing when a
	// Tail begins: far more than the recordings under way can have drawn.
	tailWindow = 50_000
)

// Tail follows events as they are recorded: each exactly once, also when
// transactions commit in another order than their ids have. It is not for more
// than one goroutine.
//
// Ids that are passed by without an event of theirs are gaps. An event that is to
// fill one is inserted by a transaction that locked the table before it drew the
// id, and that keeps its lock until the event is there to be read. So a gap is
// looked at when one of the transactions ends that held such a lock after the gap
// was seen, and given up with the last of them.
type Tail struct {
	store  *Store
	filter EventFilter
	newest int64 // highest id seen
	gaps   []gaps
	found  []int64 // to be returned by Next
}

// gaps are what was seen at one time. They are empty ranges of ids, ascending.
type gaps struct {
	low, high []int64
	holders   []string // virtual ids of transactions that may still fill them
	known     bool     // whether holders are known yet
}

// NewTail returns the newest events that match and what follows the ones after
// them. Of the filter it heeds Source, EventType and SignatureRequestID; Limit is
// how many to begin with, and may be 0.
func (s *Store) NewTail(ctx context.Context, f EventFilter) (*Tail, []EventSummary, error) {
	t := &Tail{store: s, filter: f}
	var ids []int64
	err := s.pool.QueryRow(ctx, `
		WITH newest AS (SELECT coalesce(max(id), 0) AS id FROM lumin.events)
		SELECT newest.id, ARRAY(SELECT e.id FROM lumin.events e WHERE e.id > newest.id - $1::bigint ORDER BY e.id) FROM newest`,
		int64(tailWindow)).Scan(&t.newest, &ids)
	if err != nil {
		return nil, nil, fmt.Errorf("look for the newest event: %w", err)
	}
	var events []EventSummary
	if f.Limit > 0 {
		f.lastID = t.newest
		if events, err = s.ListEvents(ctx, f); err != nil {
			return nil, nil, err
		}
		slices.Reverse(events)
	}
	// What was recorded in between and is among them is no gap any more.
	for _, e := range events {
		if e.ID > t.newest-tailWindow {
			ids = append(ids, e.ID)
		}
	}
	slices.Sort(ids)
	t.miss(max(t.newest-tailWindow, 0), t.newest, ids)
	return t, events, nil
}

// Next returns what has been recorded since the last call, at most 1,000 events
// at once in the order of their ids; none if there is nothing new. After an error
// it can be called again, and goes on where it was.
func (t *Tail) Next(ctx context.Context) ([]EventSummary, error) {
	for len(t.found) == 0 {
		more, err := t.look(ctx)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if len(t.found) == 0 {
		return nil, nil
	}
	page := t.found[:min(len(t.found), tailPage)]
	events, err := t.store.eventsByID(ctx, page)
	if err != nil {
		return nil, err
	}
	t.found = t.found[len(page):]
	return events, nil
}

// noBackend begins the virtual id of a prepared transaction that has come over a
// restart of the server.
const noBackend = "-1/"

const tailLookSQL = `
SELECT e.id,
       ($4 = '' OR e.source = $4) AND ($5 = '' OR coalesce(e.event_type = $5, false))
       AND ($6 = '' OR coalesce(e.signature_request_id = $6, false))
FROM unnest($1::bigint[], $2::bigint[]) AS r (low, high)
CROSS JOIN LATERAL (
    SELECT * FROM lumin.events WHERE id BETWEEN r.low AND r.high
    ORDER BY id LIMIT CASE WHEN r.high = 9223372036854775807 THEN $3::bigint END
) e
ORDER BY e.id`

// look finds events above the newest, and in gaps that may have been filled. It
// tells whether there may be more at once.
func (t *Tail) look(ctx context.Context) (more bool, err error) {
	holders, err := recording.Open(ctx, t.store.pool)
	if err != nil {
		return false, err
	}
	var low, high []int64
	gapsLeft := make([]gaps, len(t.gaps))
	looked := make([]bool, len(t.gaps))
	for i, g := range t.gaps {
		left, ended := g.holdersLeft(holders)
		looked[i] = ended
		if looked[i] {
			low, high = append(low, g.low...), append(high, g.high...)
		}
		gapsLeft[i] = gaps{low: g.low, high: g.high, holders: left, known: true}
	}
	// This reads what was recorded by those who are not on the list any more.
	ids, wanted, err := t.read(ctx, append(low, t.newest+1), append(high, math.MaxInt64))
	if err != nil {
		return false, err
	}
	above, _ := slices.BinarySearch(ids, t.newest+1)
	t.gaps = t.gaps[:0]
	for i, g := range gapsLeft {
		if len(g.holders) == 0 {
			continue // nobody is left to fill them
		}
		if looked[i] {
			g = g.without(ids[:above])
		}
		if len(g.low) > 0 {
			t.gaps = append(t.gaps, g)
		}
	}
	if above < len(ids) {
		t.miss(t.newest, ids[len(ids)-1], ids[above:])
		t.newest = ids[len(ids)-1]
	}
	t.found = wanted
	return len(ids)-above == tailPage, nil
}

// holdersLeft tells which of the transactions under way may fill these gaps, and
// whether any that could is not among them.
func (g gaps) holdersLeft(underWay []string) (left []string, ended bool) {
	if !g.known {
		return underWay, true // the list was made after the gaps were seen
	}
	// A prepared transaction outlives its server, and then has another virtual id:
	// it may be any of those that are gone.
	left = slices.DeleteFunc(slices.Clone(underWay), func(holder string) bool {
		return !slices.Contains(g.holders, holder) && !strings.HasPrefix(holder, noBackend)
	})
	ended = slices.ContainsFunc(g.holders, func(holder string) bool { return !slices.Contains(left, holder) })
	return left, ended
}

// read returns the ids of the events in these ranges, ascending, and which of
// them match the filter.
func (t *Tail) read(ctx context.Context, low, high []int64) (ids, wanted []int64, err error) {
	var (
		id      int64
		matches bool
	)
	err = query.Each(ctx, t.store.pool, "look for new events", []any{&id, &matches}, func() error {
		ids = append(ids, id)
		if matches {
			wanted = append(wanted, id)
		}
		return nil
	}, tailLookSQL, low, high, tailPage, t.filter.Source, t.filter.EventType, t.filter.SignatureRequestID)
	return ids, wanted, err
}

// miss notes the ids after one and up to another, without those that are there.
func (t *Tail) miss(after, upTo int64, there []int64) {
	g := gaps{low: []int64{after + 1}, high: []int64{upTo}}.without(there)
	if len(g.low) > 0 {
		t.gaps = append(t.gaps, g)
	}
}

// without takes ids, which are ascending, out of the ranges.
func (g gaps) without(ids []int64) gaps {
	left := gaps{holders: g.holders, known: g.known}
	for i, low := range g.low {
		from, _ := slices.BinarySearch(ids, low)
		for _, id := range ids[from:] {
			if id > g.high[i] {
				break
			}
			if id > low {
				left.low, left.high = append(left.low, low), append(left.high, id-1)
			}
			low = id + 1
		}
		if low <= g.high[i] {
			left.low, left.high = append(left.low, low), append(left.high, g.high[i])
		}
	}
	return left
}
