package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"lumin-ingest/internal/advice"
)

// maxIDLine is longer than any id, so that an error can say that a line is too long.
const maxIDLine = 64 << 10

// readIDs reads ids of signature requests from a file, or from in if the name is
// "-": one a line, without blank lines and lines that begin with #.
func readIDs(name string, in io.Reader) (ids []string, err error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, advice.Usage(fmt.Sprintf("--ids-from cannot be read: %v", err), "give a file with one id a line, or - for standard input")
		}
		defer file.Close()
		in = file
	} else {
		name = "standard input"
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxIDLine)
	number := 0
	for lines.Scan() {
		number++
		line := lines.Text()
		if number == 1 {
			line = strings.TrimPrefix(line, "\uFEFF") // some editors begin a file with it
		}
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if problem := idProblem(line); problem != "" {
			return nil, advice.Usage(fmt.Sprintf("%s, line %d: %s", name, number, problem), "correct that line: each has one id and nothing else")
		}
		ids = append(ids, line)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, advice.Usage(fmt.Sprintf("%s, line %d is longer than any id", name, number+1), "write one id a line")
	case err != nil:
		return nil, fmt.Errorf("read the ids from %s: %w", name, err)
	}
	return ids, nil
}

// idProblem returns why a text cannot be the id of a signature request, or "".
func idProblem(id string) string {
	const longest = 255 // of an id in a delivery, in bytes
	switch {
	case id == "":
		return "the id is empty"
	case len(id) > longest:
		return "the id is longer than 255 bytes"
	case !utf8.ValidString(id):
		return "the id is not UTF-8"
	case strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "the id contains a space or a control character"
	case strings.ContainsAny(id, `",;`):
		return "the id contains a quotation mark, a comma or a semicolon"
	}
	for segment := range strings.FieldsFuncSeq(id, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return `the id has a path segment "." or ".."`
		}
	}
	return ""
}
