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
	repository      = "https://repo1.maven.org/maven2" // the repository of the embedded-postgres project
)

// downloadPrograms returns the folder of the downloaded programs. The download
// happens once per user and version.
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

// fetch returns the bin folder of the programs in the cache, and downloads them
// first if necessary. The library cannot be interrupted. If ctx ends first, the
// download continues in the background and serves the next call.
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

// unpack calls the library's Start for its first steps: download, check,
// unpack. Start then runs initdb. unpack makes initdb fail, because the
// library's server would outlive this process. (For root it fails anyway.) The
// programs get their final name only once they are complete, because other
// processes may be unpacking at the same time.
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
		CachePath(work). // in a permanent cache, a broken archive would break every later call
		BinariesPath(unpacked).
		RuntimePath(runtimeDir).
		Port(uint32(port)).
		Username("pg_refused"). // initdb refuses names that begin with pg_, before any other step
		Logger(io.Discard))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop() // it should not have started; if it did, stop it
	}
	// Start creates its runtime folder right after unpacking. Without that
	// folder, the programs are incomplete.
	if _, err := os.Stat(runtimeDir); err != nil || !complete(filepath.Join(unpacked, "bin")) {
		return fmt.Errorf("download PostgreSQL %s from %s: %w", downloadVersion, repository, errors.Join(errors.New("the programs are incomplete"), startErr))
	}
	if err := os.Rename(unpacked, final); err != nil && !complete(filepath.Join(final, "bin")) {
		return err
	}
	return nil
}
