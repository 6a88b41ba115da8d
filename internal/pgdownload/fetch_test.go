//go:build unix && !nodownload

package pgdownload

import (
	"archive/zip"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// jar returns an archive in the repository's format. testdata/programs.txz is a
// tar of the shell scripts bin/initdb, bin/pg_ctl and bin/postgres, followed by
// the file share/last. initdb fails and postgres prints a version.
// truncated.txz ends inside the last file.
func jar(t *testing.T, name string) []byte {
	t.Helper()
	programs, err := os.ReadFile(filepath.Join("testdata", name))
	check(t, err)
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	file, err := writer.Create("postgres.txz")
	check(t, err)
	_, err = file.Write(programs)
	check(t, err)
	check(t, writer.Close())
	return archive.Bytes()
}

func TestFetch(t *testing.T) {
	t.Parallel()
	archive := jar(t, "programs.txz")
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if !strings.HasSuffix(r.URL.Path, ".jar") {
			http.NotFound(w, r) // no checksum
			return
		}
		_, _ = w.Write(archive)
	}))
	defer server.Close()
	cache := t.TempDir()
	var first int64
	for range 2 { // the second time from the cache
		dir, err := fetch(t.Context(), cache, server.URL)
		check(t, err)
		for _, name := range []string{"initdb", "postgres"} {
			info, err := os.Stat(filepath.Join(dir, name))
			check(t, err)
			if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
				t.Errorf("%s is not a program: %s", name, info.Mode())
			}
		}
		reported, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
		check(t, err)
		if !strings.HasPrefix(string(reported), "postgres (PostgreSQL) 18.") {
			t.Errorf("postgres --version = %s", reported)
		}
		if !exists(filepath.Join(dir, "../share/last")) {
			t.Error("the archive was unpacked only partially")
		}
		if first == 0 {
			first = requests.Load()
		}
	}
	if requests.Load() != first {
		t.Error("downloaded twice")
	}
	if left, err := filepath.Glob(filepath.Join(cache, "unpack-*")); err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
}

func TestFetchFails(t *testing.T) {
	t.Parallel()
	whole, truncated := jar(t, "programs.txz"), jar(t, "truncated.txz")
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"not there": http.NotFound,
		"garbage":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) },
		"truncated": func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".jar") {
				_, _ = w.Write(truncated)
			} else {
				http.NotFound(w, r)
			}
		},
		"wrong checksum": func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".jar") {
				_, _ = w.Write(whole)
			} else {
				_, _ = w.Write(bytes.Repeat([]byte("0"), 64))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(answer))
			defer server.Close()
			cache := t.TempDir()
			if dir, err := fetch(t.Context(), cache, server.URL); err == nil {
				t.Errorf("got programs in %s", dir)
			}
			if exists(filepath.Join(cache, "postgresql-"+string(version))) {
				t.Error("the cache has programs")
			}
		})
	}
}

func TestFetchStopsWithContext(t *testing.T) {
	t.Parallel()
	reached, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-release
		http.NotFound(w, r)
	}))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	if _, err := fetch(ctx, t.TempDir(), server.URL); err == nil {
		t.Error("fetched from a server that never answers")
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
