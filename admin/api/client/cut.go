package client

import (
	"errors"
	"fmt"
	"strconv"

	"lumin-ingest/internal/advice"
)

// ErrCut says that a list which was returned with it is not complete: the server has
// more rows than an answer holds, and lists no further ones.
var ErrCut = errors.New("the list is cut")

// limitText is a limit that the server accepts.
func limitText(limit int) string { return strconv.Itoa(min(limit, maxPage)) }

// cut returns ErrCut if more than an answer holds was asked for and is there.
func cut(limit int, more bool) error {
	if limit <= maxPage || !more {
		return nil
	}
	return advice.Add(fmt.Errorf("%w: the server has more, and lists at most %d", ErrCut, maxPage),
		"choose fewer with the filters of this command, or use DATABASE_URL instead of --server")
}
