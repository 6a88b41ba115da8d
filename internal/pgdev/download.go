//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	downloadVersion = embeddedpostgres.V18
	repository      = "https://repo1.maven.org/maven2" // where the embedded-postgres project publishes
)

// downloadPrograms returns the folder of downloaded programs; the download happens once per user and version.
func downloadPrograms(ctx context.Context, owner account) (string, error) {
	caches := []string{"/var/cache"}
	if own, err := os.UserCacheDir(); err == nil {
		caches = []string{own, "/var/cache"}
	}
	cache, err := cacheFolder(ctx, owner, caches)
	if err != nil {
		return "", err
	}
	return fetch(ctx, cache, repository)
}

// cacheFolder makes a folder in the first cache that works. Root's own is usually closed to the user that root runs the server as.
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
	return "", fmt.Errorf("no folder to keep a download in: %w", errors.Join(errs...))
}

// fetch returns dir/bin of the programs in the cache, and puts them there first if need be. The library cannot be interrupted: when ctx
// ends first, the download goes on behind our back and serves the next call.
func fetch(ctx context.Context, cache, repository string) (string, error) {
	final := filepath.Join(cache, "postgresql-"+string(downloadVersion))
	if complete(filepath.Join(final, "bin")) {
		return filepath.Join(final, "bin"), nil
	}
	done := make(chan error, 1)
	go func() { done <- unpack(cache, final, repository) }()
	select {
	case err := <-done:
		return filepath.Join(final, "bin"), err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// unpack uses the library's Start for what it does first: download, check, unpack. Then Start runs initdb, which we make fail, because
// a server of the library's would outlive us; for root it fails anyway. The programs appear under their final name only when they
// are all there, since other processes may be doing the same.
func unpack(cache, final, repository string) error {
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	unpacked, runtimeDir := filepath.Join(work, "programs"), filepath.Join(work, "runtime")
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		BinaryRepositoryURL(repository).
		CachePath(work). // kept, a broken archive would break every later call
		BinariesPath(unpacked).
		RuntimePath(runtimeDir).
		Port(uint32(port)).
		Username("pg_refused"). // initdb refuses names that begin with pg_ before it does anything
		Logger(io.Discard))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop() // it should not have started, but if it did it must not stay
	}
	// Start makes its runtime folder right after unpacking, so without it something is missing.
	if _, err := os.Stat(runtimeDir); err != nil || !complete(filepath.Join(unpacked, "bin")) {
		return fmt.Errorf("get PostgreSQL %s from %s: %w", downloadVersion, repository, errors.Join(errors.New("it is incomplete"), startErr))
	}
	if err := os.Rename(unpacked, final); err != nil && !complete(filepath.Join(final, "bin")) {
		return err
	}
	return nil
}
