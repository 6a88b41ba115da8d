package httpguard

import (
	"errors"
	"io"
	"math"
	"slices"
	"sync"
)

// maxLines is the number of lines that the header of a request may have,
// including its first. Proxies add a few dozen at most.
const maxLines = 100

var errTooManyLines = errors.New("too many lines in a header")

// framing counts the lines of each header before net/http stores them. It only
// decides how many bytes one read returns; it never changes, drops or reorders
// bytes. So a mistake about where a request ends can only make it count wrong.
//
// net/http must not get more of a body than handlers ask for, because it reads
// ahead: the start of the next header would pass uncounted.
type framing struct {
	mu     sync.Mutex // net/http watches for a disconnection from another goroutine
	body   int64      // bytes of the body that follow; 0: a header follows, or is being read
	lines  int        // complete lines of the header so far
	inLine bool       // the current line of the header has a character
	ahead  []byte     // bytes that were read and not returned
}

// read reads from r what belongs to the same part of the request.
func (f *framing) read(r io.Reader, p []byte) (n int, err error) {
	f.mu.Lock()
	if f.body > 0 && int64(len(p)) > f.body {
		p = p[:f.body]
	}
	n = copy(p, f.ahead)
	if f.ahead = f.ahead[n:]; len(f.ahead) == 0 {
		f.ahead = nil
	}
	f.mu.Unlock()
	if n == 0 {
		n, err = r.Read(p)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.body > 0 {
		f.body -= int64(n)
		return n, err
	}
	end, complete := f.count(p[:n])
	if f.lines > maxLines {
		return 0, errTooManyLines
	}
	if complete && end < n {
		f.ahead = slices.Concat(p[end:n], f.ahead)
		return end, nil // an error comes back with the next read
	}
	return n, err
}

// count counts the lines of a header, up to the empty line that completes it.
func (f *framing) count(p []byte) (end int, complete bool) {
	for i, b := range p {
		switch {
		case b == '\n' && !f.inLine && f.lines > 0:
			return i + 1, true
		case b == '\n':
			f.lines++
			f.inLine = false
			if f.lines > maxLines {
				return i + 1, false
			}
		case b != '\r':
			f.inLine = true
		}
	}
	return len(p), false
}

// begin is called when a handler gets a request. length is that of its body; -1
// if unknown.
func (f *framing) begin(length int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if length < 0 {
		length = math.MaxInt64 // no request follows: see Attach
	}
	f.body, f.lines, f.inLine = length, 0, false
}
