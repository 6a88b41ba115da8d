package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// cursor is the place where the next page of a list begins. Callers see it as an
// opaque text.
type cursor struct {
	List string    `json:"l"`          // which list, with which filter: a hash
	At   time.Time `json:"t,omitzero"` // of the last row
	ID   int64     `json:"i,omitzero"` // of the last row
	Key  string    `json:"k,omitzero"` // of the last run
	Kind string    `json:"j,omitzero"` // of the last run
	Text string    `json:"r,omitzero"` // the signature request or body of the last row
}

var errCursor = invalid{errors.New("the cursor does not belong to this list: leave it out to begin again, and keep the filter the same for each page")}

// listOf names a list by its operation and its filter. A cursor of another list
// is refused: it would skip rows.
func listOf(operation string, filter any) string {
	text, err := json.Marshal(filter)
	if err != nil {
		panic(fmt.Sprintf("filter of %s: %v", operation, err)) // a type that JSON cannot hold
	}
	sum := sha256.Sum256(append([]byte(operation+"\n"), text...))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func (c cursor) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		return "" // a year that JSON cannot hold: the list ends here
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// parseCursor reads the cursor of a list. An empty text is the beginning of the
// list, and its ID is 0.
func parseCursor(list, text string) (c cursor, err error) {
	if text == "" {
		return cursor{}, nil
	}
	plain, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || json.Unmarshal(plain, &c) != nil || c.List != list || c.ID < 0 || c.ID == math.MaxInt64 || c.ID == 0 && c.Key == "" {
		return cursor{}, errCursor
	}
	if c.String() != text { // another spelling of the same cursor
		return cursor{}, errCursor
	}
	return c, nil
}
