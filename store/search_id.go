package store

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// parseID returns the number that an id is, or -1, and the range of event keys that
// begin with the id. The range is empty if it is not the beginning of an event key.
func parseID(id string) (number int64, first, last [16]byte) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil || number < 0 {
		number = -1
	}
	const least = 4 // digits: fewer are in too many keys
	digits := strings.ReplaceAll(id, "-", "")
	if len(digits) < least || len(digits) > 2*len(first) {
		return number, [16]byte{1}, [16]byte{}
	}
	fill := func(with string) (key [16]byte, ok bool) {
		bytes, err := hex.DecodeString(digits + strings.Repeat(with, 2*len(key)-len(digits)))
		copy(key[:], bytes)
		return key, err == nil
	}
	first, ok := fill("0")
	if last, _ = fill("f"); !ok {
		return number, [16]byte{1}, [16]byte{}
	}
	return number, first, last
}
