package lumin

import (
	"bytes"
	"slices"
)

// SameExceptDetailsURL reports whether two bodies differ only in the values of
// details_url, at the top level or directly inside signature_request. Lumin may
// put a new token there when it repeats a delivery. All other bytes must be
// equal, including white space and order. Bodies that differ and are not both
// JSON objects are not the same.
func SameExceptDetailsURL(a, b []byte) bool {
	if string(a) == string(b) {
		return true
	}
	partsA, okA := aroundDetailsURL(a)
	partsB, okB := aroundDetailsURL(b)
	return okA && okB && slices.EqualFunc(partsA, partsB, bytes.Equal)
}

// aroundDetailsURL returns the parts of body before, between and after the
// values of details_url, and whether body is a JSON object.
func aroundDetailsURL(body []byte) (parts [][]byte, ok bool) {
	from := 0
	reason := scanMembers(body, func(m member) {
		if m.isTop("details_url") || m.isIn("signature_request", "details_url") {
			parts = append(parts, body[from:m.start])
			from = m.start + len(m.value)
		}
	})
	return append(parts, body[from:]), reason == ""
}
