//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// cacheFolders lists the folders that may hold downloaded programs, in order of
// preference.
func cacheFolders() []string {
	if own, err := os.UserCacheDir(); err == nil {
		return []string{own, "/var/cache"}
	}
	return []string{"/var/cache"}
}

// Cache creates a folder for downloaded programs that the server's user can
// enter, and returns its path.
func Cache(ctx context.Context) (string, error) {
	owner, err := findAccount()
	if err != nil {
		return "", err
	}
	return cacheFolder(ctx, owner, cacheFolders())
}

// cacheFolder creates a folder in the first usable cache. The user that runs
// the server for root usually cannot enter root's own cache.
func cacheFolder(ctx context.Context, owner account, caches []string) (string, error) {
	var errs []error
	for _, cache := range caches {
		folder := filepath.Join(cache, "lumin-ingest")
		err := os.MkdirAll(folder, 0o755)
		if err == nil && owner.can(ctx, "-x", folder) {
			return folder, nil
		}
		if err == nil {
			err = fmt.Errorf("user %s cannot enter %s", owner.name, folder)
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no cache folder is usable for the download: %w", errors.Join(errs...))
}
