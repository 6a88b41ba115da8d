package api

import (
	"maps"
	"slices"
	"time"
)

// Explained lists the names that properties explains.
func Explained() []string { return slices.Sorted(maps.Keys(properties())) }

// MakeCursor makes the cursor of a list.
func MakeCursor(list string, at time.Time, id int64) string {
	return cursor{List: list, At: at, ID: id}.String()
}

// ParseCursor reads it.
func ParseCursor(list, text string) (time.Time, int64, error) {
	c, err := parseCursor(list, text)
	return c.At, c.ID, err
}

// ParseTailCursor reads the cursor of a tail.
func ParseTailCursor(text string) { _, _ = parseTailCursor(text) }
