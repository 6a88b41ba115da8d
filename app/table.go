package app

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"lumin-ingest/internal/redact"
)

// table prints rows under headings, columns aligned. Cells are made fit for a
// terminal: what others wrote must not move the cursor.
func table(w io.Writer, headings []string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(headings, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	_ = tw.Flush() // nothing can be done about a closed terminal
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// errorCell is an error text in a table: one line, and not a long one.
func errorCell(text string) string {
	line, _, _ := strings.Cut(redact.Text(text), "\n")
	if runes := []rune(line); len(runes) > 80 {
		return string(runes[:77]) + "..."
	}
	return line
}

func timeCell(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func textCell(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// printJSON prints one value as one line.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
