package ingest

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxBody is many times the size of a delivery from Lumin.
const maxBody = 1 << 20

// Buffers of a body: the first one, and the largest one outside the budget. A
// small delivery therefore passes while large ones have used the budget up. The
// number of connections bounds this part of the memory.
const (
	firstBuffer = 4 << 10
	freeBuffer  = 16 << 10
)

// readBody returns the raw body, or an error and as much as was read. Requests
// that their header already rules out are refused without reading. The caller
// gives held back to the budget when the body is no longer needed.
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
	case connOf(r.Context()).closedForOthers():
		err = errTooManyConnections
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodyTimeout
	default: // not wrapped: its text may quote the request
		err = errBodyIncomplete
	}
	return body, held, err
}

// encoded reports whether a Content-Encoding changes the body. Proxies send
// "identity", or an empty header, for a body that they leave alone.
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

// readAll reads to the end into a buffer that doubles as bytes arrive. The
// announced size (-1: unknown) only ever makes the buffer smaller: announcing a
// large body reserves nothing. The budget is charged for the buffer's capacity,
// and for old and new buffer while one is copied into the other.
func readAll(r io.Reader, announced int64, b *budget) (body []byte, held int64, err error) {
	largest := int64(maxBody + 1) // room to see that the end has come
	if announced >= 0 {
		largest = max(announced, 1)
	}
	body = make([]byte, 0, min(firstBuffer, largest))
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
		}
		grown := min(4*int64(cap(body)), freeBuffer)
		if cap(body) >= freeBuffer {
			grown = 2 * int64(cap(body))
		}
		grown = max(min(grown, largest), int64(cap(body))+1)
		charge := int64(0)
		if grown > freeBuffer {
			charge = grown
		}
		if !b.take(charge) {
			return body, held, errTooManyBodies
		}
		next := make([]byte, len(body), grown)
		copy(next, body)
		b.give(held)
		body, held = next, charge
	}
}
