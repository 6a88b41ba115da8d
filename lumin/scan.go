package lumin

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Why a scanner of our own: encoding/json keeps one of several equal member
// names, replaces what is not Unicode, and refuses a body nested deeper than
// 10,000 levels. Each of these would merge different events or turn away an
// authentic one. This one keeps no more than a byte per open level, does not
// recurse, and looks at each byte once.

// A member is one member of the top-level object or of an object directly inside
// it: as deep as anything lies that Lumin's contract names.
type member struct {
	nested bool   // false: a member of the top-level object
	parent []byte // unescaped name of the member that a nested one is inside
	name   []byte // unescaped
	value  []byte // as written, without the white space around it
	start  int    // where value begins in the body
}

// isTop reports whether m is the named member of the top-level object.
func (m member) isTop(name string) bool {
	return !m.nested && string(m.name) == name
}

// isIn reports whether m is the named member of the object that the top-level
// member parent is.
func (m member) isIn(parent, name string) bool {
	return m.nested && string(m.name) == name && string(m.parent) == parent
}

// isObject reports whether a member's value is a JSON object.
func (m member) isObject() bool { return m.value[0] == '{' }

// scanMembers checks that body is one JSON object and nothing else, and calls
// visit for its members, and for theirs, in the order in which their values end.
// It returns why body is not a JSON object, or "". By then it may have visited
// members: what they said is void.
//
// The grammar is RFC 8259's. Like encoding/json it lets a string hold bytes that
// are not UTF-8; unquote reports them.
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

		// Behind a value, or before the end of an empty container.
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
	open   []byte    // '{' or '[' for each container that pos is inside
	names  [2][]byte // of the members being scanned in the outer two containers
	starts [2]int    // of their values
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

// begin notes where a value starts and returns its first byte, or 0.
func (s *scanner) begin() byte {
	c := s.next()
	if depth := len(s.open); depth == 1 || depth == 2 {
		s.starts[depth-1] = s.pos
	}
	return c
}

// end reports a value that ended at pos if it is a member that interests anybody.
func (s *scanner) end() {
	switch depth := len(s.open); {
	case depth == 1 && s.open[0] == '{':
		s.visit(member{name: s.names[0], value: s.body[s.starts[0]:s.pos], start: s.starts[0]})
	case depth == 2 && s.open[0] == '{' && s.open[1] == '{':
		s.visit(member{nested: true, parent: s.names[0], name: s.names[1], value: s.body[s.starts[1]:s.pos], start: s.starts[1]})
	}
}

// name scans a member's name and the colon behind it.
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
			text, _ := unquote(quoted) // a replaced character is in none of the names we know
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

// number scans a number. What follows it is the caller's to judge.
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

// skip moves past c if it is there.
func (s *scanner) skip(c byte) bool {
	if s.pos < len(s.body) && s.body[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// digits moves past decimal digits, of which there must be one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.body) && isDigit(s.body[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

// unquote returns the text of a scanned JSON string, and whether it is Unicode
// throughout. Where it is not, each lone surrogate and each byte that is not
// UTF-8 has become U+FFFD. A U+FFFD that the string itself holds is as good as
// any other character.
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

// maxMillis is the last millisecond of the year 9999: later times cannot be
// written in RFC 3339, which is how Go puts a time into JSON.
const maxMillis = 253402300799999

// Why a value is not a time.
const (
	notMillis   = "is not a whole number of milliseconds"
	outOfMillis = "is out of range"
)

// unixMillis reads a member's value as milliseconds since 1970, given as an
// integer of digits only or as a string of digits, from 1 to maxMillis. It
// returns the time in UTC, or what is wrong with the value.
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
		if ms <= maxMillis { // else stop counting, but look at all digits
			ms = ms*10 + int64(digits[i]-'0')
		}
	}
	if ms < 1 || ms > maxMillis {
		return time.Time{}, outOfMillis
	}
	return time.UnixMilli(ms).UTC(), ""
}
