package app

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func lay(width int, headings []string, rows [][]string, cut ...string) string {
	lines := [][]string{headings}
	for _, row := range rows {
		lines = append(lines, append([]string{}, row...))
	}
	var out strings.Builder
	if fit(lines, width, cut) {
		columns(&out, lines)
	} else {
		paragraphs(&out, lines)
	}
	return out.String()
}

func TestTableOnATerminal(t *testing.T) {
	t.Parallel()
	headings := []string{"JOB TYPE", "RUNS", "ERROR"}
	rows := [][]string{{"book_invoice", "3", "no invoice for this customer: 404"}, {"mail", "12", "ü"}}
	for _, c := range []struct {
		width int
		want  string
	}{
		{53, "JOB TYPE      RUNS  ERROR\nbook_invoice  3     no invoice for this customer: 404\nmail          12    ü\n"},
		{52, "JOB TYPE      RUNS  ERROR\nbook_invoice  3     no invoice for this customer: 4…\nmail          12    ü\n"},
		{32, "JOB TYPE      RUNS  ERROR\nbook_invoice  3     no invoice …\nmail          12    ü\n"},
		{31, "JOB TYPE  book_invoice\nRUNS      3\nERROR     no invoice for this customer: 404\n\nJOB TYPE  mail\nRUNS      12\nERROR     ü\n"},
	} {
		if got := lay(c.width, headings, rows, "ERROR"); got != c.want {
			t.Errorf("%d wide:\n%s\nwant\n%s", c.width, got, c.want)
		}
	}
}

// Empty cells take no line, such as those of findings without a remedy.
func TestParagraphs(t *testing.T) {
	t.Parallel()
	got := lay(20, []string{"", "CHECK", "FOUND", "WHAT TO DO"}, [][]string{{"ok", "fsync", "on", ""}, {"--", "clock", "5s behind", "set it"}})
	const want = "CHECK       ok  fsync\nFOUND       on\n\nCHECK       --  clock\nFOUND       5s behind\nWHAT TO DO  set it\n"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// To fit, lines of events first leave out milliseconds and the prefix of event
// types. Only then are cells cut.
func TestEventLines(t *testing.T) {
	t.Parallel()
	cells := []string{"16", "2026-11-26 06:18:52.853-05:00", "account", "signature_request_signed", "21e1745e77cd30f5db92a03efecec4a22a637b15", "0", "1 succeeded"}
	for width, want := range map[int]string{
		0:   "16        2026-11-26 06:18:52.853-05:00  account       signature_request_signed            21e1745e77cd30f5db92a03efecec4a22a637b15  0             1 succeeded",
		120: "16        2026-11-26 06:18:52-05:00  account       signed        21e1745e77cd30f5db92a03efec…  0             1 succeeded",
		80:  "16        2026-11-26 06:18:52-05:00  account       signed        21e1745e77c…  …",
	} {
		l := eventLayout(width)
		if got := l.line(cells); got != want || (width > 0 && utf8.RuneCountInString(got) > width) {
			t.Errorf("%d wide: %q, want %q", width, got, want)
		}
	}
}

func TestAbbreviated(t *testing.T) {
	t.Parallel()
	got := abbreviated([][]string{{"RECEIVED", "EVENT TYPE", "JOB TYPE"},
		{"2026-01-02 03:04:05.678+01:00", "signature_request_signed", "signature_request_state"}, {"2026-01-02 03:04:05.678Z", "unrecognized", "-"}})
	if fmt.Sprint(got[1:]) != "[[2026-01-02 03:04:05+01:00 signed signature_request_state] [2026-01-02 03:04:05Z unrecognized -]]" {
		t.Errorf("%v", got)
	}
}

// A table that fits has no line that is too long. Only the columns that may be
// cut lose text.
func TestTableFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`[a-zü]{0,40}`)
		headings := []string{"ONE", "TWO", "THREE"}
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, 3, 3), 1, 5).Draw(t, "rows")
		width := rapid.IntRange(1, 140).Draw(t, "width")
		text := lay(width, headings, rows, "TWO", "THREE")
		for _, row := range rows {
			if !strings.Contains(text, row[0]) {
				t.Fatalf("lost %q in\n%s", row[0], text)
			}
		}
		if !strings.HasPrefix(text, "ONE  ") || !strings.Contains(strings.SplitN(text, "\n", 2)[0], "THREE") {
			return // paragraphs: the terminal wraps their lines
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, " \n")); n > width {
				t.Fatalf("%d of %d characters: %q", n, width, line)
			}
		}
	})
}

// Output that does not go to a terminal is neither cut nor converted to another
// time zone.
func TestTableElsewhere(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600))
	long := strings.Repeat("x", 500)
	var out bytes.Buffer
	table(&output{to: &out}, []string{"AT", "WHAT", "WHY"}, [][]string{{timeCell(&at), long, "a\tb\x1b"}}, "WHAT")
	if got := out.String(); !strings.Contains(got, "2026-01-02 02:04:05.678Z  "+long+"  a\uFFFDb\uFFFD\n") {
		t.Errorf("%s", got)
	}
}

// Flags accept the times that tables print.
func TestTimesOfTables(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("CET", 3600), time.FixedZone("NST", -12600)} {
		text := localTime(timeCell(&at), zone)
		if got, err := parseWhen(text, time.Now()); err != nil || !got.Equal(at) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if got, want := localTime(timeCell(&at), time.FixedZone("CET", 3600)), "2026-01-02 04:04:05.678+01:00"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, other := range []string{"-", "", "removed 2026-01-02 03:04:05.678Z", "2026-01-02"} {
		if got := localTime(other, time.FixedZone("", 3600)); got != other {
			t.Errorf("%q became %q", other, got)
		}
	}
}

func TestPrintJSON(t *testing.T) {
	t.Parallel()
	type inner struct {
		At *time.Time `json:"at"`
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	var out bytes.Buffer
	err := printJSON(&out, struct {
		inner
		Inner   *inner           `json:"inner"`
		None    *inner           `json:"none"`
		List    []inner          `json:"list"`
		Empty   []string         `json:"empty"`
		Removed []byte           `json:"removed"`
		Count   int64            `json:"count"`
		Text    string           `json:"text"`
		States  map[string]int64 `json:"states"`
	}{Inner: &inner{&at}, List: []inner{{&at}, {}}, Count: 1 << 60, Text: "<a&b>", States: map[string]int64{"failed": 1}})
	const want = `{"at":null,"inner":{"at":"2026-01-02T02:04:05Z"},"none":null,"list":[{"at":"2026-01-02T02:04:05Z"},{"at":null}],` +
		`"empty":[],"removed":null,"count":1152921504606846976,"text":"<a&b>","states":{"failed":1}}`
	if err != nil || strings.TrimSpace(out.String()) != want {
		t.Errorf("%v\n%s\n%s", err, out.String(), want)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// Lost output is an error, unless the reader has closed the pipe.
func TestLostOutput(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		lost bool
	}{{syscall.ENOSPC, true}, {syscall.EIO, true}, {syscall.EPIPE, false}, {fmt.Errorf("write: %w", syscall.EPIPE), false}} {
		o := &output{to: brokenWriter{c.err}}
		table(o, []string{"A", "B"}, [][]string{{"1", "2"}})
		if got := o.failure(); (got != nil) != c.lost || (c.lost && !errors.Is(got, c.err)) {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
