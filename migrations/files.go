package migrations

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:embed sql/*.sql
var numbered embed.FS

//go:embed attach.sql
var attachSQL string

//go:embed detach.sql
var detachSQL string

// file is one numbered migration.
type file struct {
	version int
	name    string // such as 0001_events_and_runs
}

func (f file) down() string { return read("sql/" + f.name + ".down.sql") }

// files returns our migrations, the oldest first.
func files() []file {
	paths, err := fs.Glob(numbered, "sql/*.up.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	var all []file
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "sql/"), ".up.sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			panic(err) // the files are part of the program
		}
		all = append(all, file{version, name})
	}
	slices.SortFunc(all, func(a, b file) int { return a.version - b.version })
	return all
}

func read(path string) string {
	text, err := numbered.ReadFile(path)
	if err != nil {
		panic(err) // the files are part of the program
	}
	return string(text)
}

// filesUpTo returns the migrations that are applied in a schema of this
// version.
func filesUpTo(version int) []file {
	return slices.DeleteFunc(files(), func(f file) bool { return f.version > version })
}

// nameOf returns the name of a migration, or its number if this program does
// not have it.
func nameOf(version int) string {
	for _, f := range files() {
		if f.version == version {
			return f.name
		}
	}
	return strconv.Itoa(version)
}

// Latest returns the number of the newest migration in this program.
func Latest() int {
	all := files()
	return all[len(all)-1].version
}

// Fingerprint returns a hash that changes whenever the schema that [Up] creates
// changes.
func Fingerprint() string {
	sum := sha256.New()
	fmt.Fprintln(sum, riverVersion, attachSQL, detachSQL, markAttachedSQL, setVersionSQL(Latest()))
	err := fs.WalkDir(numbered, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		fmt.Fprintln(sum, path, read(path))
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return hex.EncodeToString(sum.Sum(nil))
}
