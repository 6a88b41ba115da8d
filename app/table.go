package app

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"lumin-ingest/internal/redact"
)

// table prints rows under headings, with aligned columns. Control characters in
// cells are replaced: foreign text must not move the cursor. [output] keeps
// write errors.
//
// On a terminal, times are local, and the table fits the width. First, times
// and event types are abbreviated. Then cells in the columns named in cut are
// shortened. As a last resort, each row becomes a paragraph. Elsewhere, cells
// are printed in full.
func table(w io.Writer, headings []string, rows [][]string, cut ...string) {
	lines := make([][]string, 0, len(rows)+1)
	lines = append(lines, headings)
	width := widthOf(w)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
			if width > 0 {
				cells[i] = localTime(cells[i], time.Local) //nolint:gosmopolitan // the zone of the person at the terminal
			}
		}
		lines = append(lines, cells)
	}
	out := bufio.NewWriter(w)
	switch {
	case width == 0 || len(headings) == 2 || fit(lines, width, nil):
		columns(out, lines)
	default:
		short := abbreviated(lines)
		if fit(short, width, cut) {
			columns(out, short)
			break
		}
		paragraphs(out, lines)
	}
	_ = out.Flush() // output keeps the error
}

const (
	gap      = 2  // blanks between two columns
	leastCut = 12 // no cell is shortened below this many characters
)

func columns(w io.Writer, lines [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, gap, ' ', 0)
	for _, cells := range lines {
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	_ = tw.Flush() // output keeps the error
}

// paragraphs prints each row as one line per cell, and skips empty cells. A
// cell without a heading is printed before the next cell.
func paragraphs(w io.Writer, lines [][]string) {
	headings, widest := lines[0], 0
	for _, heading := range headings {
		widest = max(widest, utf8.RuneCountInString(heading))
	}
	for i, cells := range lines[1:] {
		if i > 0 {
			fmt.Fprintln(w)
		}
		before := ""
		for j, cell := range cells {
			switch {
			case cell == "":
			case headings[j] == "":
				before = cell + "  "
			default:
				fmt.Fprintf(w, "%-*s  %s%s\n", widest, headings[j], before, cell)
				before = ""
			}
		}
	}
}

// fit shortens cells of the columns named in cut, the widest column first,
// until the table is at most width characters wide. If that is impossible, it
// returns false and changes nothing.
func fit(lines [][]string, width int, cut []string) bool {
	headings := lines[0]
	widths, total := make([]int, len(headings)), -gap
	for i := range headings {
		for _, cells := range lines {
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
		total += widths[i] + gap
	}
	for total > width {
		widest := -1
		for i, heading := range headings {
			if slices.Contains(cut, heading) && widths[i] > max(leastCut, utf8.RuneCountInString(heading)) &&
				(widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
		total--
	}
	for _, cells := range lines {
		for i := range cells {
			cells[i] = shortened(cells[i], widths[i])
		}
	}
	return true
}

// abbreviated removes the milliseconds from times and Lumin's prefix from event
// types.
func abbreviated(lines [][]string) [][]string {
	short := make([][]string, len(lines))
	for i, cells := range lines {
		short[i] = slices.Clone(cells)
		for j, cell := range cells {
			if at, err := time.Parse(zonedTime, cell); err == nil {
				short[i][j] = at.Format(shortTime)
			}
			if lines[0][j] == eventTypeHeading {
				short[i][j] = strings.TrimPrefix(cell, "signature_request_")
			}
		}
	}
	return short
}

// eventTypeHeading is the heading of columns that hold event types.
const eventTypeHeading = "EVENT TYPE"

// shortened cuts a text to at most n characters. The last one is then an
// ellipsis.
func shortened(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// errorCell returns the first line of an error text, cut to a length that fits
// into a table.
func errorCell(text string) string {
	line, _, _ := strings.Cut(redact.Text(text), "\n")
	if runes := []rune(line); len(runes) > 80 {
		return string(runes[:77]) + "..."
	}
	return line
}

// Formats of times in tables: in UTC, or with a zone. Flags such as --since
// read both.
const (
	utcTime   = "2006-01-02 15:04:05.000Z"
	zonedTime = "2006-01-02 15:04:05.000Z07:00"
	shortTime = "2006-01-02 15:04:05Z07:00"
)

func timeCell(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(utcTime)
}

// localTime converts a cell that timeCell made to another zone. Other cells
// stay unchanged.
func localTime(cell string, zone *time.Location) string {
	at, err := time.Parse(utcTime, cell)
	if err != nil {
		return cell
	}
	return at.In(zone).Format(zonedTime)
}

// timeText formats a time outside a table, as the tables on the same output do.
func timeText(w io.Writer, t time.Time) string {
	cell := timeCell(&t)
	if widthOf(w) > 0 {
		cell = localTime(cell, time.Local) //nolint:gosmopolitan // the zone of the person at the terminal
	}
	return cell
}

func textCell(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}
