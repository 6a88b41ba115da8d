package main

import (
	"context"
	"fmt"
)

// done is what a contestant has done, by its own tables.
type done struct {
	answered int // different events that were answered 200
	events   int // rows
	runs     int // runs, or jobs of a contestant without runs
	effects  int
}

// verify returns an error unless all numbers are equal. A contestant that does
// not work its events must not have effects.
func (d done) verify(worked bool) error {
	effects := 0
	if worked {
		effects = d.answered
	}
	if d.events != d.answered || d.runs != d.answered || d.effects != effects {
		return fmt.Errorf("%d events were answered 200, but the database has %d events, %d runs and %d effects instead of %d, %d and %d",
			d.answered, d.events, d.runs, d.effects, d.answered, d.answered, effects)
	}
	return nil
}

// verify compares the answers of this turn with the database. A benchmark of a
// program that loses or doubles events would be worthless.
func (s *stage) verify(ctx context.Context, worked bool) (err error) {
	d := done{answered: s.answered}
	for _, c := range []struct {
		to  *int
		sql string
	}{{&d.events, s.contestant.counted.events}, {&d.runs, s.contestant.counted.runs}, {&d.effects, s.contestant.counted.effects}} {
		if *c.to, err = s.count(ctx, c.sql); err != nil {
			return err
		}
	}
	return d.verify(worked)
}
