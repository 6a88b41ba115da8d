package ingest

import (
	"errors"
	"io"
	"math/bits"
	"net/http"
	"os"
	"strings"

	"lumin-ingest/internal/httpguard"
)

// maxBody is many times the size of a delivery from Lumin.
const maxBody = 1 << 20

// firstBuffer is the size of a body's first buffer, if the header does not
// promise a smaller body. freeBuffer is the size of the largest buffer that is not charged to the budget, so that small
// deliveries pass even if large ones have used up the budget. The limit on
// connections also limits this uncharged memory.
const (
	firstBuffer = 4 << 10
	freeBuffer  = 16 << 10
)

// readBody returns the raw body, or an error and the part that was read. It
// refuses a request without reading the body if the header is sufficient to do
// so. The caller returns held to the budget once the body is no longer needed.
func readBody(w http.ResponseWriter, r *http.Request, b *budget) (body []byte, held int64, err error) {
	if encoded(r.Header) {
		return nil, 0, errContentEncoding
	}
	if r.ContentLength > maxBody {
		return nil, 0, errBodyTooLarge
	}
	body, held, err = readAll(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength, b)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil, errors.Is(err, errTooManyBodies):
	case errors.As(err, &tooLarge):
		err = errBodyTooLarge
	case httpguard.Of(r.Context()).Evicted():
		err = errTooManyConnections
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodyTimeout
	default: // not wrapped, because its text may quote the request
		err = errBodyIncomplete
	}
	return body, held, err
}

// encoded reports whether a Content-Encoding changes the body. For an unchanged
// body, proxies may send "identity" or an empty header.
func encoded(header http.Header) bool {
	for _, line := range header["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

// readAll reads the whole body into a buffer that grows as bytes arrive, so a
// large Content-Length alone reserves nothing. A negative length is unknown.
// The budget is charged for the buffer's capacity, and for both buffers while
// one is copied to the other.
func readAll(r io.Reader, length int64, b *budget) (body []byte, held int64, err error) {
	body = b.buffer(firstSize(length))
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case errors.Is(err, io.EOF):
			return body, held, nil
		case err != nil:
			return body, held, err
		case len(body) < cap(body):
			continue
		case len(body) == maxBody:
			// The body is full. r must now report its end, or that it is too
			// large.
			_, err = io.ReadFull(r, make([]byte, 1))
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return body, held, err
		}
		size, charge := freeBuffer, int64(0)
		if cap(body) >= freeBuffer {
			size = 2 * cap(body)
			charge = int64(size)
		}
		if !b.take(charge) {
			return body, held, errTooManyBodies
		}
		grown := append(b.buffer(size), body...)
		b.recycle(body)
		b.give(held)
		body, held = grown, charge
	}
}

// firstSize returns the size of the first buffer for a body of a length. A body
// that fits leaves a byte free, so that its end is noticed without growing.
func firstSize(length int64) int {
	if length < 0 || length >= firstBuffer {
		return firstBuffer
	}
	return 1 << bits.Len64(uint64(length))
}
