package mask

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// JSON returns a body with its personal data and secrets hidden, and with its
// layout unchanged. It returns false, and no text, for a body that is not valid
// JSON.
func JSON(body []byte) (masked []byte, ok bool) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, false
	}
	w := writer{body: body}
	w.out.Grow(len(body))
	for w.pos < len(body) {
		w.next()
	}
	return w.out.Bytes(), true
}

// writer copies a valid JSON text and masks its strings.
type writer struct {
	body []byte
	pos  int
	out  bytes.Buffer

	open []byte // the brackets that are open at pos
	name string // of the member that pos is in; empty directly in an array
	// names are the names of the members that the open brackets are values of.
	names []string
}

// next copies one string, or one byte outside of strings.
func (w *writer) next() {
	switch c := w.body[w.pos]; c {
	case '"':
		w.text()
		return
	case '{', '[':
		w.open, w.names = append(w.open, c), append(w.names, w.name)
	case '}', ']':
		last := len(w.open) - 1
		w.name = w.names[last]
		w.open, w.names = w.open[:last], w.names[:last]
	}
	w.out.WriteByte(w.body[w.pos])
	w.pos++
}

// text copies the string that begins at pos.
func (w *writer) text() {
	end := w.pos + 1
	for w.body[end] != '"' {
		if w.body[end] == '\\' {
			end++
		}
		end++
	}
	end++
	literal := w.body[w.pos:end]
	w.pos = end
	var text string
	if json.Unmarshal(literal, &text) != nil { // impossible in valid JSON
		w.out.WriteString(`"` + hidden + `"`)
		return
	}
	var masked string
	if w.isName() {
		w.name = strings.ToLower(text)
		masked = String(text)
	} else {
		masked = value(w.name, text)
	}
	if masked == text {
		w.out.Write(literal)
		return
	}
	w.out.Write(quote(masked))
}

// isName reports whether the string before pos is the name of a member.
func (w *writer) isName() bool {
	if len(w.open) == 0 || w.open[len(w.open)-1] != '{' {
		return false
	}
	rest := bytes.TrimLeft(w.body[w.pos:], " \t\r\n")
	return len(rest) > 0 && rest[0] == ':'
}

// quote writes a string as JSON, without escapes for HTML.
func quote(text string) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(text) != nil { // impossible for a string
		return []byte(`"` + hidden + `"`)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
