package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// built are the paths of two built programs of one commit: the whole program,
// and its Recorder alone.
type built struct{ program, recorder string }

// build builds the programs of this checkout, and of the older commit if there
// is one.
func (b *bench) build(ctx context.Context) (err error) {
	if b.current, err = b.buildIn(ctx, "", "ours"); err != nil || b.before == "" {
		return err
	}
	source := filepath.Join(b.folder, "source")
	if err := extract(ctx, b.before, source); err != nil {
		return fmt.Errorf("read commit %s: %w", b.before, err)
	}
	b.older, err = b.buildIn(ctx, source, "before")
	return err
}

// buildIn builds the programs of the checkout in a folder; "" is the current
// one.
func (b *bench) buildIn(ctx context.Context, folder, name string) (built, error) {
	to := filepath.Join(b.folder, name)
	if err := os.Mkdir(to, 0o700); err != nil {
		return built{}, err
	}
	err := command(ctx, folder, "go", "build", "-buildvcs=false", "-o", to, "lumin-ingest/cmd/lumin-ingest", "lumin-ingest/internal/bench/recorder")
	if err != nil {
		return built{}, fmt.Errorf("build the programs, which must be done inside their checkout: %w", err)
	}
	return built{program: filepath.Join(to, "lumin-ingest"), recorder: filepath.Join(to, "recorder")}, nil
}

// extract writes the files of a commit into a new folder. Package recorder and
// what it needs of the benchmark come from this checkout, so that the same
// source is measured on both commits.
func extract(ctx context.Context, commit, folder string) error {
	const script = `set -e
root=$(git rev-parse --show-toplevel)
mkdir "$2"
git -C "$root" archive "$1" | tar -x -C "$2"
rm -rf "$2/internal/bench"
mkdir "$2/internal/bench"
cp -R "$root/internal/bench/load" "$root/internal/bench/recorder" "$2/internal/bench"`
	return command(ctx, "", "bash", "-o", "pipefail", "-c", script, "extract", commit, folder)
}

// command runs a program in a folder; "" is the current one.
func command(ctx context.Context, folder, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = folder, os.Stderr
	return cmd.Run()
}
