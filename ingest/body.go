package ingest

import (
	"bytes"
	"errors"
	"net/http"
	"os"
)

// maxBody is many times what a delivery of Lumin's has.
const maxBody = 1 << 20

// firstBuffer bounds what is allocated on the word of a Content-Length alone.
const firstBuffer = 8 << 10

// readBody returns the raw body, to its end or with an error as far as it came.
// What can be refused by looking at the header is refused without reading.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if _, encoded := r.Header["Content-Encoding"]; encoded {
		return nil, errContentEncoding
	}
	if r.ContentLength > maxBody {
		return nil, errBodyTooLarge
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), firstBuffer)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return body.Bytes(), nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = errBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errBodyTimeout
	default: // not wrapped: its text may quote what was sent
		err = errBodyIncomplete
	}
	return body.Bytes(), err
}
