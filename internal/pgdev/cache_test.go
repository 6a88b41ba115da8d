//go:build unix

package pgdev

import (
	"os"
	"path/filepath"
	"testing"
)

// No user can use the first cache. The user that runs the server for root
// cannot use the second.
func TestCacheFolder(t *testing.T) {
	t.Parallel()
	owner, err := findAccount()
	check(t, err)
	temp := t.TempDir()
	check(t, os.Chmod(filepath.Dir(temp), 0o755))
	file, closed, open := filepath.Join(temp, "file"), filepath.Join(temp, "closed"), filepath.Join(temp, "open")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, os.Mkdir(closed, 0o700))
	check(t, os.Mkdir(open, 0o755))
	want := filepath.Join(open, "lumin-ingest")
	if !owner.switched {
		want = filepath.Join(closed, "lumin-ingest") // closed only to other users
	}
	if got, err := cacheFolder(t.Context(), owner, []string{file, closed, open}); err != nil || got != want {
		t.Errorf("cacheFolder = %s, %v, want %s", got, err, want)
	}
	if got, err := cacheFolder(t.Context(), owner, []string{file}); err == nil {
		t.Errorf("cacheFolder = %s, want an error", got)
	}
}
