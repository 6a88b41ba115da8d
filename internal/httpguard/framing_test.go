package httpguard

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// framed returns a reader of f, as net/http uses one.
type framed struct {
	*framing
	from io.Reader
}

func (f framed) Read(p []byte) (int, error) { return f.framing.read(f.from, p) }

// Whatever the order and size of reads, no byte is changed, dropped or added,
// and net/http finds the same requests.
func TestFramingKeepsBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var sent strings.Builder
		var bodies []string
		for range rapid.IntRange(1, 5).Draw(t, "requests") {
			body := rapid.StringOfN(rapid.RuneFrom([]rune("\r\nGx: ")), 0, 40, -1).Draw(t, "body")
			end := rapid.SampledFrom([]string{"\r\n", "\n"}).Draw(t, "line end")
			bodies = append(bodies, body)
			sent.WriteString(strings.Join([]string{"POST / HTTP/1.1", "Host: x", "Content-Length: " + strconv.Itoa(len(body)), "", body}, end))
		}
		from := io.Reader(strings.NewReader(sent.String()))
		if rapid.Bool().Draw(t, "byte by byte") {
			from = iotest.OneByteReader(from)
		}
		f := &framing{}
		var seen bytes.Buffer
		reader := bufio.NewReaderSize(io.TeeReader(framed{f, from}, &seen), rapid.IntRange(16, 4096).Draw(t, "buffer"))
		for i, want := range bodies {
			request, err := http.ReadRequest(reader)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			if reader.Buffered() > 0 {
				t.Fatalf("request %d: %d bytes behind the header", i, reader.Buffered())
			}
			f.begin(request.ContentLength)
			body, err := io.ReadAll(request.Body)
			if err != nil || string(body) != want {
				t.Fatalf("request %d: body %q, %v, want %q", i, body, err, want)
			}
		}
		if seen.String() != sent.String() {
			t.Fatalf("read %q, sent %q", &seen, &sent)
		}
	})
}

// Lines are counted in a second header too, even if all of it came with the
// first request.
func TestFramingCountsLines(t *testing.T) {
	t.Parallel()
	const first = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
	for lines, want := range map[int]error{maxLines: nil, maxLines + 1: errTooManyLines} {
		second := "GET / HTTP/1.1\r\n" + strings.Repeat("a:\r\n", lines-1) + "\r\n"
		f := &framing{}
		reader := bufio.NewReader(framed{f, strings.NewReader(first + second)})
		request, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatal(err)
		}
		f.begin(request.ContentLength)
		if body, err := io.ReadAll(request.Body); string(body) != "hello" {
			t.Fatalf("%q, %v", body, err)
		}
		if _, err := http.ReadRequest(reader); !errors.Is(err, want) {
			t.Errorf("%d lines: %v, want %v", lines, err, want)
		}
	}
}
