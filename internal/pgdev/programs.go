//go:build unix

package pgdev

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oldestVersion was the oldest maintained version of PostgreSQL when this was
// written. It is also the first version that uses scram-sha-256 passwords by
// default.
const oldestVersion = 14

// programs is a folder with the programs of a server.
type programs struct {
	dir   string
	major int // version
}

func (p programs) initdb() string     { return filepath.Join(p.dir, "initdb") }
func (p programs) postgres() string   { return filepath.Join(p.dir, "postgres") }
func (p programs) basebackup() string { return filepath.Join(p.dir, "pg_basebackup") } // may be missing

// installFolders lists the folders in which packages install the programs
// outside PATH.
//
//nolint:gochecknoglobals // a table
var installFolders = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // PostgreSQL's own packages for Red Hat
	"/usr/libexec/postgresql*",                           // Alpine
	"/usr/lib/postgresql*/bin",                           // SUSE
	"/usr/local/pgsql/bin",                               // built from source
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
	"/opt/homebrew/bin",                                  // the same, unversioned
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
	"/usr/local/bin",                                     // the same, unversioned; FreeBSD
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew on Linux
	"/opt/local/lib/postgresql*/bin",                     // MacPorts
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
}

// search finds the programs. Tests replace its fields.
type search struct {
	owner    account  // the user that must be able to run the programs
	path     string   // as in $PATH
	folders  []string // patterns, in order of preference
	caches   []string // for the download, in order of preference
	download func(ctx context.Context, cache string) (dir string, err error)
	system   string // as in runtime.GOOS
}

func newSearch(owner account, download func(context.Context, string) (string, error)) search {
	return search{
		owner:    owner,
		path:     os.Getenv("PATH"),
		folders:  installFolders,
		caches:   cacheFolders(),
		download: download,
		system:   runtime.GOOS,
	}
}

// find returns the first usable programs. If binDir is set, it searches only
// there. Otherwise it searches PATH, then the known folders, newest version
// first. If nothing is usable, it downloads the programs if it may.
func (s search) find(ctx context.Context, binDir string) (programs, error) {
	if binDir != "" {
		found, err := s.inspect(ctx, binDir)
		if err != nil {
			return programs{}, fmt.Errorf("Config.BinDir: %w; name a folder with initdb and postgres, or leave it empty", err)
		}
		return found, nil
	}
	var refused []string
	for _, dir := range append(s.fromPath(), s.fromFolders()...) {
		found, err := s.inspect(ctx, dir)
		if err == nil {
			return found, nil
		}
		refused = append(refused, err.Error())
	}
	if s.download != nil {
		found, err := s.fetch(ctx)
		if err == nil {
			return found, nil
		}
		refused = append(refused, "download: "+err.Error())
	}
	if ctx.Err() != nil {
		return programs{}, fmt.Errorf("look for PostgreSQL's programs: %w", context.Cause(ctx))
	}
	return programs{}, s.noPrograms(refused)
}

// fetch downloads the programs, or finds them where an earlier download put
// them.
func (s search) fetch(ctx context.Context) (programs, error) {
	cache, err := cacheFolder(ctx, s.owner, s.caches)
	if err != nil {
		return programs{}, err
	}
	dir, err := s.download(ctx, cache)
	if err != nil {
		return programs{}, err
	}
	return s.inspect(ctx, dir)
}

// fromPath returns the folders that contain the programs in PATH, with links
// resolved. A folder in PATH may have a link to only one of the programs.
func (s search) fromPath() []string {
	var dirs []string
	for _, folder := range filepath.SplitList(s.path) {
		if !filepath.IsAbs(folder) {
			continue // a program in the current folder is not an installed server
		}
		for _, name := range []string{"postgres", "initdb", "pg_ctl"} {
			program, err := filepath.EvalSymlinks(filepath.Join(folder, name))
			if err == nil && !slices.Contains(dirs, filepath.Dir(program)) && complete(filepath.Dir(program)) {
				dirs = append(dirs, filepath.Dir(program))
			}
		}
	}
	return dirs
}

// fromFolders returns the known folders that have the programs. Among the
// matches of one pattern, the newest version comes first.
func (s search) fromFolders() []string {
	var dirs []string
	for _, pattern := range s.folders {
		matches, _ := filepath.Glob(pattern) // fails only for a malformed pattern
		slices.SortStableFunc(matches, func(a, b string) int { return cmp.Compare(versionIn(b), versionIn(a)) })
		for _, match := range matches {
			if complete(match) {
				dirs = append(dirs, match)
			}
		}
	}
	return dirs
}

var folderVersion = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// versionIn returns the version in a folder's name, as in
// /usr/lib/postgresql/15/bin; 9.6 is older than 15.
func versionIn(dir string) float64 {
	all := folderVersion.FindAllString(dir, -1)
	if len(all) == 0 {
		return 0
	}
	version, _ := strconv.ParseFloat(all[len(all)-1], 64)
	return version
}

// complete reports whether a folder has both programs.
func complete(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

// reportedVersion matches outputs such as "postgres (PostgreSQL) 15.18 (Debian
// 15.18-0+deb12u1)". It also accepts beta versions such as 18beta1, and product
// names of other vendors.
var reportedVersion = regexp.MustCompile(`^postgres \([^)]*\) ([0-9]+)`)

// inspect checks the version of the programs in dir. It runs postgres as the
// user of the server, which also proves that this user can run it.
func (s search) inspect(ctx context.Context, dir string) (programs, error) {
	dir, err := resolve(dir)
	if err != nil {
		return programs{}, err
	}
	if !complete(dir) {
		return programs{}, fmt.Errorf("%s does not have both initdb and postgres", dir)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	output, err := s.owner.command(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return programs{}, fmt.Errorf("%s cannot be run by user %s: %w", filepath.Join(dir, "postgres"), s.owner.name, err)
	}
	match := reportedVersion.FindSubmatch(output)
	if match == nil {
		return programs{}, fmt.Errorf("%s does not report its version", filepath.Join(dir, "postgres"))
	}
	version, err := strconv.Atoi(string(match[1]))
	if err != nil || version < oldestVersion {
		return programs{}, fmt.Errorf("%s is version %s, older than %d", dir, match[1], oldestVersion)
	}
	return programs{dir: dir, major: version}, nil
}

// noPrograms returns an error with the failed attempts and the three
// alternatives.
func (s search) noPrograms(tried []string) error {
	reasons := ""
	if len(tried) > 0 {
		reasons = " (" + strings.ReplaceAll(strings.Join(tried, "; "), "\n", " ") + ")"
	}
	return fmt.Errorf(`no PostgreSQL server programs of version %d or newer were found%s; choose one:
  install them:           %s
  use a running server:   set DEV_DATABASE_URL, or TEST_DATABASE_URL for tests, to postgres://USER:PASSWORD@HOST:PORT/DATABASE
  use a container:        docker compose up`, oldestVersion, reasons, s.installCommand())
}

// installCommand returns the command that installs a server on this system.
func (s search) installCommand() string {
	if s.system == "darwin" {
		return "brew install postgresql"
	}
	for _, manager := range []struct{ name, command string }{
		{"apt-get", "apt-get install postgresql"},
		{"dnf", "dnf install postgresql-server"},
		{"apk", "apk add postgresql"},
		{"brew", "brew install postgresql"},
	} {
		for _, folder := range filepath.SplitList(s.path) {
			if _, err := exec.LookPath(filepath.Join(folder, manager.name)); err == nil && filepath.IsAbs(folder) {
				return manager.command
			}
		}
	}
	return "the package postgresql, or postgresql-server, of your system"
}
