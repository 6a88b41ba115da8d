//go:build !nodownload

package pgdownload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

const (
	version    = embeddedpostgres.V18
	repository = "https://repo1.maven.org/maven2" // the repository of the embedded-postgres project
)

// Fetch returns the folder in the cache that has the programs initdb and
// postgres, and downloads them first if necessary. It returns early when ctx
// ends. The library cannot be interrupted, so the download then continues in
// the background and serves a later call.
func Fetch(ctx context.Context, cache string) (dir string, err error) {
	return fetch(ctx, cache, repository)
}

func fetch(ctx context.Context, cache, repository string) (string, error) {
	final := filepath.Join(cache, "postgresql-"+string(version))
	if hasPrograms(final) {
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
// library's server would outlive this process. (As root, it fails anyway.) The
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
		Version(version).
		BinaryRepositoryURL(repository).
		CachePath(work). // in a permanent cache, a broken archive would break every later call
		BinariesPath(unpacked).
		RuntimePath(runtimeDir).
		Port(port).
		Username("pg_refused"). // initdb refuses names that begin with pg_, before any other step
		Logger(io.Discard))
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop() // Start should have failed; if it succeeded, stop its server
	}
	// Start creates its runtime folder right after unpacking. Without that
	// folder, the programs are incomplete.
	if _, err := os.Stat(runtimeDir); err != nil || !hasPrograms(unpacked) {
		return fmt.Errorf("download PostgreSQL %s from %s: %w", version, repository, errors.Join(errors.New("the programs are incomplete"), startErr))
	}
	if err := os.Rename(unpacked, final); err != nil && !hasPrograms(final) {
		return err
	}
	return nil
}

// hasPrograms reports whether a folder has been unpacked. The caller of Fetch
// checks whether the programs can be run.
func hasPrograms(dir string) bool {
	_, initdb := os.Stat(filepath.Join(dir, "bin", "initdb"))
	_, postgres := os.Stat(filepath.Join(dir, "bin", "postgres"))
	return initdb == nil && postgres == nil
}

// freePort returns an unused port of 127.0.0.1. The library checks that it can
// listen there.
func freePort() (uint32, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	return uint32(listener.Addr().(*net.TCPAddr).Port), listener.Close() //nolint:forcetypeassert // it listens on TCP
}
