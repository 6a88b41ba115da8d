//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packed returns an npm package with the named files.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var text bytes.Buffer
	compressed := gzip.NewWriter(&text)
	archive := tar.NewWriter(compressed)
	for name, content := range files {
		check(t, archive.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}))
		_, err := archive.Write([]byte(content))
		check(t, err)
	}
	check(t, errors.Join(archive.Close(), compressed.Close()))
	return text.Bytes()
}

func integrity(text []byte) string {
	sum := sha512.Sum512(text)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestFetch(t *testing.T) {
	t.Parallel()
	whole := map[string]string{
		"package/native/bin/postgres":     "a program",
		"package/native/lib/libpq.so.5.1": "a library",
		"package/native/pg-symlinks.json": `[{"source":"native/lib/libpq.so.5.1","target":"native/lib/libpq.so"}]`,
	}
	for name, test := range map[string]struct {
		files     map[string]string
		integrity string // "" means the right one
		problem   string // "" means none
	}{
		"whole":          {files: whole},
		"wrong checksum": {files: whole, integrity: integrity(nil), problem: "checksum"},
		"a path that leads out": {
			files:   map[string]string{"../outside": "x", "package/native/pg-symlinks.json": `[]`},
			problem: "escapes",
		},
		"a link to another folder": {
			files:   map[string]string{"package/native/pg-symlinks.json": `[{"source":"../../../etc/passwd","target":"native/lib/x"}]`},
			problem: "another folder",
		},
		"no list of links": {files: map[string]string{"package/native/bin/postgres": "x"}, problem: "pg-symlinks.json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := packed(t, test.files)
			if test.integrity == "" {
				test.integrity = integrity(text)
			}
			a, cache, packs := archive{"some/server", "1.2.3", test.integrity}, t.TempDir(), 0
			pack := func(_ context.Context, spec, folder string) (string, error) {
				packs++
				if spec != "some/server@1.2.3" {
					t.Errorf("packs %s", spec)
				}
				file := filepath.Join(folder, "server.tgz")
				return file, os.WriteFile(file, text, 0o600)
			}
			for range 2 { // the second time from the cache
				dir, err := a.fetch(t.Context(), cache, pack)
				if test.problem != "" {
					if err == nil || !strings.Contains(err.Error(), test.problem) {
						t.Errorf("error %v, want one with %q", err, test.problem)
					}
					continue
				}
				check(t, err)
				if info, err := os.Stat(filepath.Join(dir, "postgres")); err != nil || info.Mode() != 0o755 {
					t.Errorf("postgres is no program: %v", err)
				}
				if info, err := os.Stat(filepath.Join(dir, "../lib")); err != nil || info.Mode().Perm() != 0o755 {
					t.Errorf("another user cannot read the libraries: %v", err)
				}
				library, err := os.ReadFile(filepath.Join(dir, "../lib/libpq.so"))
				if string(library) != "a library" {
					t.Errorf("the link leads to %q, %v", library, err)
				}
			}
			if test.problem == "" && packs != 1 {
				t.Errorf("downloaded %d times", packs)
			}
			left, err := os.ReadDir(cache)
			check(t, err)
			if want := map[bool]int{true: 1, false: 0}[test.problem == ""]; len(left) != want {
				t.Errorf("%d folders are left in the cache, want %d", len(left), want)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
