//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fake describes a folder of programs to create: its name and the output of
// postgres --version.
type fake struct{ dir, version string }

func TestFindPrograms(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		installed  []fake
		links      map[string]string // path → target
		path       string
		folders    []string
		binDir     string
		downloaded string
		want       string
	}{
		"in PATH":                       {installed: []fake{{"bin", v("16.2")}}, path: "empty:bin", want: "bin"},
		"PATH before folders":           {installed: []fake{{"bin", v("14.0")}, {"lib/17/bin", v("17.0")}}, path: "bin", folders: []string{"lib/*/bin"}, want: "bin"},
		"PATH has a link to only one":   {installed: []fake{{"lib/15/bin", v("15.1")}}, links: map[string]string{"bin/initdb": "lib/15/bin/initdb"}, path: "bin", want: "lib/15/bin"},
		"PATH has a link to pg_ctl":     {installed: []fake{{"lib/15/bin", v("15.1")}}, links: map[string]string{"bin/pg_ctl": "lib/15/bin/pg_ctl"}, path: "bin", want: "lib/15/bin"},
		"only half of it in PATH":       {links: map[string]string{"bin/initdb": "/bin/sh"}, installed: []fake{{"lib/15/bin", v("15.1")}}, path: "bin", folders: []string{"lib/*/bin"}, want: "lib/15/bin"},
		"newest first":                  {installed: []fake{{"lib/9.6/bin", v("9.6.24")}, {"lib/14/bin", v("14.9")}, {"lib/16/bin", v("16.1")}, {"lib/15/bin", v("15.1")}}, folders: []string{"lib/*/bin"}, want: "lib/16/bin"},
		"order of the folders":          {installed: []fake{{"a/14/bin", v("14.9")}, {"b/16/bin", v("16.1")}}, folders: []string{"a/*/bin", "b/*/bin"}, want: "a/14/bin"},
		"newest cannot run":             {installed: []fake{{"lib/18/bin", "exit 1"}, {"lib/15/bin", v("15.1")}}, folders: []string{"lib/*/bin"}, want: "lib/15/bin"},
		"too old, then new enough":      {installed: []fake{{"bin", v("13.21")}, {"lib/14/bin", v("14.0")}}, path: "bin", folders: []string{"lib/*/bin"}, want: "lib/14/bin"},
		"Debian's version text":         {installed: []fake{{"bin", v("15.18 (Debian 15.18-0+deb12u1)")}}, path: "bin", want: "bin"},
		"a beta":                        {installed: []fake{{"bin", v("19beta1")}}, path: "bin", want: "bin"},
		"not PostgreSQL":                {installed: []fake{{"bin", "echo hello 15"}}, path: "bin"},
		"nothing":                       {path: "empty"},
		"too old":                       {installed: []fake{{"bin", v("13.21")}}, path: "bin"},
		"downloaded":                    {installed: []fake{{"cache/bin", v("18.3")}}, downloaded: "cache/bin", want: "cache/bin"},
		"download is broken":            {installed: []fake{{"cache/bin", "exit 1"}}, downloaded: "cache/bin"},
		"BinDir":                        {installed: []fake{{"mine", v("14.1")}, {"bin", v("18.0")}}, path: "bin", binDir: "mine", want: "mine"},
		"BinDir is a link":              {installed: []fake{{"mine", v("14.1")}}, links: map[string]string{"current": "mine"}, binDir: "current", want: "mine"},
		"BinDir and nothing else":       {installed: []fake{{"bin", v("18.0")}}, path: "bin", binDir: "empty"},
		"BinDir with a version 13":      {installed: []fake{{"mine", v("13.1")}, {"bin", v("18.0")}}, path: "bin", binDir: "mine"},
		"relative entries do not count": {installed: []fake{{"bin", v("18.0")}}, path: "./bin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, err := resolve(t.TempDir())
			check(t, err)
			for _, one := range test.installed {
				install(t, filepath.Join(root, one.dir), one.version)
			}
			for link, target := range test.links {
				check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755))
				if !filepath.IsAbs(target) {
					target = filepath.Join(root, target)
				}
				check(t, os.Symlink(target, filepath.Join(root, link)))
			}
			got, err := fakeSearch(root, test.path, test.folders, test.downloaded).find(t.Context(), under(root, test.binDir))
			if test.want == "" {
				if err == nil {
					t.Fatalf("found %s, want an error", got.dir)
				}
				return
			}
			check(t, err)
			if want := filepath.Join(root, test.want); got.dir != want {
				t.Errorf("found %s, want %s", got.dir, want)
			}
		})
	}
}

func TestFindVersion(t *testing.T) {
	t.Parallel()
	root, err := resolve(t.TempDir())
	check(t, err)
	install(t, filepath.Join(root, "bin"), v("17.2"))
	install(t, filepath.Join(root, "lib/14/bin"), v("14.9"))
	install(t, filepath.Join(root, "lib/16/bin"), "exit 1")
	s := fakeSearch(root, "bin", []string{"lib/*/bin"}, "")
	for major, want := range map[int]string{17: "bin", 14: "lib/14/bin", 16: "", 15: ""} {
		dir, err := s.version(t.Context(), major)
		if want == "" {
			if err == nil {
				t.Errorf("version %d: found %s, want an error", major, dir)
			}
		} else if dir != filepath.Join(root, want) || err != nil {
			t.Errorf("version %d: found %s, %v, want %s", major, dir, err, want)
		}
	}
}

func v(version string) string { return "echo 'postgres (PostgreSQL) " + version + "'" }

// install writes the programs. Only postgres does anything.
func install(t *testing.T, dir, script string) {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"initdb", "pg_ctl", "postgres"} {
		writeProgram(t, filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"))
	}
}

// writeProgram writes a file that can be run at once. A program that another
// test starts meanwhile must not inherit the file open for writing. Otherwise
// the system refuses to run the file: "text file busy".
func writeProgram(t *testing.T, path string, text []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	check(t, os.WriteFile(path, text, 0o755))
}

func under(root, path string) string {
	if path == "" || strings.HasPrefix(path, "./") {
		return path
	}
	return filepath.Join(root, path)
}

func fakeSearch(root, path string, folders []string, downloaded string) search {
	s := search{owner: account{name: "tester"}, system: "linux"}
	var entries []string
	for entry := range strings.SplitSeq(path, ":") {
		entries = append(entries, under(root, entry))
	}
	s.path = strings.Join(entries, ":")
	for _, folder := range folders {
		s.folders = append(s.folders, under(root, folder))
	}
	s.caches = []string{root}
	s.download = func(context.Context, string) (string, error) {
		if downloaded == "" {
			return "", errors.New("no way\nout of here")
		}
		return under(root, downloaded), nil
	}
	return s
}

func TestNoProgramsError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ system, manager, want string }{
		{"linux", "apt-get", "apt-get install postgresql"},
		{"linux", "dnf", "dnf install postgresql-server"},
		{"linux", "apk", "apk add postgresql"},
		{"darwin", "apt-get", "brew install postgresql"},
		{"freebsd", "pkg", "of your system"},
	} {
		t.Run(test.system+" "+test.manager, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			install(t, filepath.Join(root, "old"), v("13.2"))
			writeProgram(t, filepath.Join(root, "old", test.manager), []byte("#!/bin/sh\n"))
			s := fakeSearch(root, "old", nil, "")
			s.system = test.system
			_, err := s.find(t.Context(), "")
			if err == nil {
				t.Fatal("found programs where there are none")
			}
			for _, want := range []string{
				test.want, "DEV_DATABASE_URL", "TEST_DATABASE_URL", "docker compose up", // the alternatives
				"version 13", "download: no way out of here", // the failed attempts
			} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != 4 {
				t.Errorf("%d lines, want one for the problem and three for the alternatives:\n%v", lines, err)
			}
		})
	}
}

// Tests pass no download. Then nothing is downloaded, and the error has the
// same alternatives.
func TestFindWithoutDownload(t *testing.T) {
	t.Parallel()
	s := fakeSearch(t.TempDir(), "", nil, "")
	s.download = nil
	_, err := s.find(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "were found; choose one:") || strings.Contains(err.Error(), "download") {
		t.Errorf("error = %v, want one that lists the alternatives and mentions no download", err)
	}
}

func TestFindStopsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("changed my mind")
	cancel(cause)
	s := fakeSearch(t.TempDir(), "", nil, "")
	if _, err := s.find(ctx, ""); !errors.Is(err, cause) {
		t.Errorf("error = %v, want %v", err, cause)
	}
}

func TestVersionIn(t *testing.T) {
	t.Parallel()
	for dir, want := range map[string]float64{
		"/usr/lib/postgresql/15/bin": 15, "/usr/pgsql-9.6/bin": 9.6, "/opt/homebrew/opt/postgresql@17/bin": 17, "/usr/local/pgsql/bin": 0,
	} {
		if got := versionIn(dir); got != want {
			t.Errorf("versionIn(%s) = %s, want %s", dir, fmt.Sprint(got), fmt.Sprint(want))
		}
	}
}
