package store

import (
	"errors"
	"slices"
)

// TailState is the state of a [Tail] between two calls of Next, for a caller that
// keeps it elsewhere meanwhile.
type TailState struct {
	Newest  int64         `json:"newest"`
	Unread  []int64       `json:"unread,omitempty"`
	Missing []MissingRows `json:"missing,omitempty"`
}

// MissingRows are ids that an open transaction may still insert: ranges from Low to
// High.
type MissingRows struct {
	Low     []int64  `json:"low"`
	High    []int64  `json:"high"`
	Holders []string `json:"holders,omitempty"`
	Known   bool     `json:"known"`
}

// ErrTailState refuses a state that no Tail can have.
var ErrTailState = errors.New("not the state of a tail")

const (
	// maxTailRows bounds the ids that a state may name, so that no state makes Next
	// read a large part of the table.
	maxTailRows = 4 * tailWindow

	maxTailGroups = 1000
)

// State returns the state of the tail. Like [Store.NewTail], it expects no event far
// below the newest one any more: otherwise the state would grow as long as a
// transaction stays open.
func (t *Tail) State() TailState {
	s := TailState{Newest: t.newest, Unread: t.unread}
	for _, m := range t.missing {
		if m = m.above(t.newest - tailWindow); len(m.low) > 0 {
			s.Missing = append(s.Missing, MissingRows{m.low, m.high, m.holders, m.known})
		}
	}
	return s
}

// above returns the ids that are higher than one.
func (m missingIDs) above(id int64) missingIDs {
	first, _ := slices.BinarySearch(m.high, id+1) // the first range with such an id
	m.low, m.high = slices.Clone(m.low[first:]), m.high[first:]
	if len(m.low) > 0 {
		m.low[0] = max(m.low[0], id+1)
	}
	return m
}

// ResumeTail returns the tail with this state. It uses the same fields of the filter
// as [Store.NewTail], except Limit. The error is ErrTailState.
func (s *Store) ResumeTail(f EventFilter, state TailState) (*Tail, error) {
	if state.Newest < 0 || len(state.Unread) > maxTailRows || len(state.Missing) > maxTailGroups {
		return nil, ErrTailState
	}
	t := &Tail{store: s, filter: f, newest: state.Newest, unread: state.Unread}
	rows := int64(0)
	for _, m := range state.Missing {
		last := int64(0)
		if len(m.Low) != len(m.High) {
			return nil, ErrTailState
		}
		for i, low := range m.Low {
			if low <= last || m.High[i] < low || m.High[i] > state.Newest {
				return nil, ErrTailState
			}
			last, rows = m.High[i], rows+m.High[i]-low+1
		}
		t.missing = append(t.missing, missingIDs{slices.Clone(m.Low), slices.Clone(m.High), m.Holders, m.Known})
	}
	if rows > maxTailRows {
		return nil, ErrTailState
	}
	return t, nil
}
