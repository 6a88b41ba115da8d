//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// upgradeRow is the row that needs an older program.
const upgradeRow = "T16"

// withoutMigrations is how many of the newest migrations the older program must
// not know if no commit is named. The newest one alone may change only a right
// or a comment.
const withoutMigrations = 2

// buildOlder builds the older program from a commit: the named one, or the one
// that olderCommit chooses.
func (b *bench) buildOlder(ctx context.Context) (err error) {
	if b.olderIs, err = olderCommit(ctx, ".", b.before); err != nil {
		return err
	}
	fmt.Printf("  the older program is that of commit %s\n", b.olderIs)
	source := filepath.Join(b.folder, "source")
	const script = `set -e
root=$(git rev-parse --show-toplevel)
mkdir "$2"
git -C "$root" archive "$1" | tar -x -C "$2"`
	if err := command(ctx, "", "sh", "-c", script, "extract", b.olderIs, source); err != nil {
		return fmt.Errorf("read commit %s: %w", b.olderIs, err)
	}
	program := filepath.Join(b.folder, "older")
	if err := command(ctx, source, "go", "build", "-buildvcs=false", "-o", program, "./internal/chaos"); err != nil {
		return fmt.Errorf("build the older program: %w", err)
	}
	b.older = []string{program, "serve"}
	return nil
}

// errNoHistory says what to do if git does not know the older commit.
var errNoHistory = errors.New("T16 builds an older program from the history of git: fetch the whole history (git fetch --unshallow), " +
	"or name an older commit that this clone has, with -before or, in make, OLDER=COMMIT")

// olderCommit returns the named commit. Without a name it returns the one before
// the commit that added the first of the newest migrations: the last program that
// knew none of them. The newest program without the files of its newest
// migrations would not do: its statements name the columns that they create.
func olderCommit(ctx context.Context, checkout, named string) (string, error) {
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = checkout
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w; %w", args[0], err, errNoHistory)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if named != "" {
		return git("rev-parse", "--verify", "--short=12", named+"^{commit}")
	}
	list, err := git("ls-tree", "--full-tree", "--name-only", "HEAD", "migrations/sql/")
	if err != nil {
		return "", err
	}
	files := slices.DeleteFunc(strings.Fields(list), func(file string) bool { return !strings.HasSuffix(file, ".up.sql") })
	if len(files) <= withoutMigrations {
		return "", fmt.Errorf("%d migrations are committed, which is too few for an older program", len(files))
	}
	first := files[len(files)-withoutMigrations] // they are sorted
	added, err := git("log", "--diff-filter=A", "-1", "--format=%H", "--", ":/"+first)
	if err != nil {
		return "", err
	}
	return git("rev-parse", "--verify", "--short=12", added+"^") // in a shallow clone, the first commit has no parent
}
