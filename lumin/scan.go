package lumin

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// This file has its own JSON scanner because encoding/json does not fit. It
// keeps only one of several members with the same name, replaces invalid
// Unicode, and refuses a body nested deeper than 10,000 levels. Each of these
// would merge different events or refuse an authentic one. The scanner here
// keeps one byte per open level, does not recurse, and reads each byte once.

// A member belongs to the top-level object or to an object directly inside it.
// Lumin's contract names nothing deeper.
type member struct {
	nested bool   // false for a member of the top-level object
	parent []byte // unescaped name of the top-level member that contains a nested one
	name   []byte // unescaped
	value  []byte // as written, without the white space around it
	start  int    // where value begins in the body
}

// isTop reports whether m is the named member of the top-level object.
func (m member) isTop(name string) bool {
	return !m.nested && string(m.name) == name
}

// isIn reports whether m is the named member of the object in the top-level
// member parent.
func (m member) isIn(parent, name string) bool {
	return m.nested && string(m.name) == name && string(m.parent) == parent
}

// isObject reports whether a member's value is a JSON object.
func (m member) isObject() bool { return m.value[0] == '{' }

// scanMembers checks that body is exactly one JSON object. It calls visit for
// the members of the object and for their members, in the order in which the
// values end. It returns "", or the reason why body is not a JSON object. If it
// returns a reason, ignore all members visited before.
//
// The grammar is that of RFC 8259. Like encoding/json, the scanner accepts
// bytes that are not UTF-8 inside a string. unquote reports them.
func scanMembers(body []byte, visit func(member)) (reason string) {
	const notJSON, notObject = "not JSON", "not a JSON object"

	s := scanner{body: body, open: make([]byte, 0, 64), visit: visit}
	root := s.next()
	for {
		switch c := s.begin(); c {
		case '{', '[':
			s.open = append(s.open, c)
			s.pos++
			switch next := s.next(); {
			case c == '{' && next == '}', c == '[' && next == ']':
			case c == '{' && !s.name():
				return notJSON
			default:
				continue
			}
		default:
			if !s.scalar(c) {
				return notJSON
			}
			s.end()
		}

		// pos is now after a value, or at the end of an empty container.
		for closing := true; closing; {
			c := s.next()
			if len(s.open) == 0 {
				switch {
				case s.pos < len(body):
					return notJSON
				case root != '{':
					return notObject
				}
				return ""
			}
			switch in := s.open[len(s.open)-1]; {
			case in == '{' && c == '}', in == '[' && c == ']':
				s.open = s.open[:len(s.open)-1]
				s.pos++
				s.end()
			case c == ',':
				s.pos++
				if in == '{' && !s.name() {
					return notJSON
				}
				closing = false
			default:
				return notJSON
			}
		}
	}
}

// scanner is the state of scanMembers.
type scanner struct {
	body   []byte
	pos    int
	open   []byte    // '{' or '[' for each container around pos
	names  [2][]byte // names of the current members of the two outermost containers
	starts [2]int    // start of the value of each of these members
	visit  func(member)
}

// next skips white space and returns the byte at pos, or 0 at the end of the
// body. No JSON value or punctuation begins with a 0.
func (s *scanner) next() byte {
	for ; s.pos < len(s.body); s.pos++ {
		switch c := s.body[s.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// begin records where a value starts and returns its first byte, or 0 at the
// end of the body.
func (s *scanner) begin() byte {
	c := s.next()
	if depth := len(s.open); depth == 1 || depth == 2 {
		s.starts[depth-1] = s.pos
	}
	return c
}

// end calls visit for the value that ended at pos if it belongs to a member at
// one of the two visited levels.
func (s *scanner) end() {
	switch depth := len(s.open); {
	case depth == 1 && s.open[0] == '{':
		s.visit(member{name: s.names[0], value: s.body[s.starts[0]:s.pos], start: s.starts[0]})
	case depth == 2 && s.open[0] == '{' && s.open[1] == '{':
		s.visit(member{nested: true, parent: s.names[0], name: s.names[1], value: s.body[s.starts[1]:s.pos], start: s.starts[1]})
	}
}

// name scans a member's name and the colon after it.
func (s *scanner) name() bool {
	if s.next() != '"' {
		return false
	}
	start := s.pos
	if !s.string() {
		return false
	}
	if depth := len(s.open); depth <= 2 {
		quoted := s.body[start:s.pos]
		name := quoted[1 : len(quoted)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			text, _ := unquote(quoted) // no name of the contract contains a replacement character
			name = []byte(text)
		}
		s.names[depth-1] = name
	}
	if s.next() != ':' {
		return false
	}
	s.pos++
	return true
}

// scalar scans a value that is not a container and begins with c.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case '"':
		return s.string()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) literal(word string) bool {
	if len(s.body)-s.pos < len(word) || string(s.body[s.pos:s.pos+len(word)]) != word {
		return false
	}
	s.pos += len(word)
	return true
}

// string scans a string from its opening to its closing quote.
func (s *scanner) string() bool {
	for i := s.pos + 1; i < len(s.body); i++ {
		switch c := s.body[i]; {
		case c == '"':
			s.pos = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			i++
			switch {
			case i == len(s.body):
				return false
			case s.body[i] == 'u':
				if _, ok := hex4(s.body[i+1:]); !ok {
					return false
				}
				i += 4
			case strings.IndexByte(`"\/bfnrt`, s.body[i]) < 0:
				return false
			}
		}
	}
	return false
}

// number scans a number. The caller checks the bytes after it.
func (s *scanner) number() bool {
	s.skip('-')
	if !s.skip('0') && !s.digits() {
		return false
	}
	if s.skip('.') && !s.digits() {
		return false
	}
	if s.skip('e') || s.skip('E') {
		if !s.skip('+') {
			s.skip('-')
		}
		return s.digits()
	}
	return true
}

// skip moves past c if c is the next byte.
func (s *scanner) skip(c byte) bool {
	if s.pos < len(s.body) && s.body[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// digits moves past decimal digits. It fails if there is none.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.body) && isDigit(s.body[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

// unquote returns the text of a scanned JSON string, and whether all of it is
// valid Unicode. It replaces each lone surrogate and each byte that is not
// UTF-8 by U+FFFD. A U+FFFD in the string itself counts as valid.
func unquote(quoted []byte) (text string, unicode bool) {
	raw := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw), true
	}
	unicode = true
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		if raw[0] != '\\' {
			r, size := utf8.DecodeRune(raw)
			unicode = unicode && (r != utf8.RuneError || size > 1)
			out = utf8.AppendRune(out, r)
			raw = raw[size:]
			continue
		}
		c := raw[1]
		raw = raw[2:]
		switch c {
		default: // '"', '\\', '/'
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, _ := hex4(raw)
			raw = raw[4:]
			if utf16.IsSurrogate(r) {
				var low rune
				if bytes.HasPrefix(raw, []byte(`\u`)) {
					low, _ = hex4(raw[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					raw = raw[6:]
				} else {
					unicode = false
				}
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return string(out), unicode
}

// hex4 reads the four hexadecimal digits at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// maxMillis is the last millisecond of the year 9999. Go writes times to JSON
// in RFC 3339, which cannot express later ones.
const maxMillis = 253402300799999

// Reasons why a value is not a valid time.
const (
	notMillis   = "is not a whole number of milliseconds"
	outOfMillis = "is out of range"
)

// unixMillis parses a member's value as milliseconds since 1970, from 1 to
// maxMillis. The value is an integer of digits only, or a string of digits.
// unixMillis returns the time in UTC, or the problem with the value.
func unixMillis(value []byte) (at time.Time, wrong string) {
	digits := string(value)
	if value[0] == '"' {
		digits, _ = unquote(value)
	}
	if digits == "" {
		return time.Time{}, notMillis
	}
	var ms int64
	for i := range len(digits) {
		if !isDigit(digits[i]) {
			return time.Time{}, notMillis
		}
		if ms <= maxMillis { // avoids overflow; the remaining digits are still checked
			ms = ms*10 + int64(digits[i]-'0')
		}
	}
	if ms < 1 || ms > maxMillis {
		return time.Time{}, outOfMillis
	}
	return time.UnixMilli(ms).UTC(), ""
}
