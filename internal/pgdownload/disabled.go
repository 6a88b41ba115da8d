//go:build nodownload

package pgdownload

import (
	"context"
	"errors"
)

// Fetch returns an error, because this program was built without the
// downloader.
func Fetch(context.Context, string) (string, error) {
	return "", errors.New("this program was built with the tag nodownload")
}
