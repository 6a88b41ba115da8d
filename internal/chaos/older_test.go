//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The older program is the last one that knows none of the two newest migrations,
// also if one commit has added several.
func TestOlderCommit(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	sql := filepath.Join(folder, "migrations", "sql")
	if err := os.MkdirAll(sql, 0o755); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, names := range [][]string{{"0001_a"}, {"0002_b"}, {}, {"0003_c", "0004_d"}, {"0005_e"}, {}} {
		for _, name := range names {
			for _, kind := range []string{".up.sql", ".down.sql"} {
				if err := os.WriteFile(filepath.Join(sql, name+kind), []byte(name+kind), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		git("add", ".")
		git("commit", "-q", "--allow-empty", "-m", "x")
		ids = append(ids, git("rev-parse", "--short=12", "HEAD"))
	}
	if got, err := olderCommit(t.Context(), folder, ""); err != nil || got != ids[2] {
		t.Errorf("chosen: %s, %v; want the third of %v", got, err, ids)
	}
	if got, err := olderCommit(t.Context(), folder, ids[1][:8]); err != nil || got != ids[1] {
		t.Errorf("named: %s, %v; want %s", got, err, ids[1])
	}
	shallow := filepath.Join(t.TempDir(), "shallow")
	git("clone", "-q", "--depth", "2", "file://"+folder, shallow)
	for what, in := range map[string]string{"a shallow clone": shallow, "no repository": t.TempDir()} {
		if got, err := olderCommit(t.Context(), in, ""); !errors.Is(err, errNoHistory) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	git("rm", "-q", "migrations/sql/0003_c.up.sql", "migrations/sql/0004_d.up.sql", "migrations/sql/0005_e.up.sql")
	git("commit", "-q", "-m", "x")
	if got, err := olderCommit(t.Context(), folder, ""); err == nil {
		t.Errorf("two migrations: %s", got)
	}
}
