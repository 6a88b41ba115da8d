package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	apiclient "lumin-ingest/admin/api/client"
	"lumin-ingest/internal/advice"
)

// outputSettings choose the format of a command's output.
type outputSettings struct {
	Output string `default:"table" enum:"table,json" help:"table, or json: one object a line."`
}

// json reports whether the output is one JSON object per line.
func (s outputSettings) json() bool { return s.Output == "json" }

// listSettings are the flags of every command that lists rows.
type listSettings struct {
	windowSettings
	outputSettings
}

// listing describes the table of one type of row.
type listing[T any] struct {
	empty    string   // printed in place of a table without rows
	headings []string // of the columns
	cells    func(T) []string
	cut      []string // headings of the columns that may be shortened
}

// list runs a command that lists rows: it opens the window, loads the rows and
// prints them.
func list[T any](ctx context.Context, std streams, s listSettings, l listing[T], load func(operatorWindow) ([]T, error)) error {
	w, closeWindow, err := s.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	items, err := load(w)
	if lost(err) {
		return err
	}
	return errors.Join(err, l.print(std.out, s.outputSettings, items))
}

// lost reports whether an error leaves nothing to print. A list that a server has cut
// is printed, and the command fails afterwards.
func lost(err error) bool { return err != nil && !errors.Is(err, apiclient.ErrCut) }

// print prints rows in the format that the user chose.
func (l listing[T]) print(w io.Writer, s outputSettings, items []T) error {
	if s.json() {
		return printLines(w, items)
	}
	l.table(w, items)
	return nil
}

// table prints rows as a table, or says that there are none.
func (l listing[T]) table(w io.Writer, items []T) {
	if len(items) == 0 {
		fmt.Fprintln(w, l.empty) // output keeps the error
		return
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = l.cells(item)
	}
	table(w, l.headings, rows, l.cut...)
}

// printLines prints each item as one JSON object on a line of its own.
func printLines[T any](w io.Writer, items []T) error {
	for _, item := range items {
		if err := printJSON(w, item); err != nil {
			return err
		}
	}
	return nil
}

// checkLimit refuses a --limit that would show nothing.
func checkLimit(limit int) error {
	if limit < 1 {
		return advice.Usage(fmt.Sprintf("--limit is %d", limit), "give 1 or more")
	}
	return nil
}
