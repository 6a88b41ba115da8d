package api

import (
	"maps"
	"slices"
	"time"

	"lumin-ingest/store"
)

// Explained lists the names that properties explains.
func Explained() []string { return slices.Sorted(maps.Keys(properties())) }

// MakeCursor makes the cursor of a list.
func MakeCursor(list string, at time.Time, id int64) string {
	return cursor{List: list, At: at, ID: id}.String()
}

// RemakeCursor reads it and makes it again.
func RemakeCursor(list, text string) (string, error) {
	c, err := parseCursor(list, text)
	return c.String(), err
}

// MakeTailCursor makes the cursor of a tail.
func MakeTailCursor(s store.TailState) string { return tailCursor(s) }

// ParseTailCursor reads it.
func ParseTailCursor(text string) (store.TailState, error) { return parseTailCursor(text) }
