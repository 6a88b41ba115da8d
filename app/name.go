package app

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
)

// programName returns the name that begins error messages. It may differ from
// lumin-ingest, because users build programs with their own job types.
func programName() string {
	return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
}

// invocation returns the text to type to run this program. Usage messages and
// commands in advice begin with it.
func invocation() string {
	path := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		path = info.Path
	}
	return invocationOf(os.Args[0], path)
}

// goRun matches the paths of programs that "go run" has built: in a temporary
// folder or in the build cache.
var goRun = regexp.MustCompile(`/go-build[^/]*/([^/]+/exe|([^/]+/)?[0-9a-f]{64}-d)/[^/]+$`)

// invocationOf derives the invocation from the executable and the path of its
// main package.
func invocationOf(executable, mainPackage string) string {
	if goRun.MatchString(filepath.ToSlash(executable)) && mainPackage != "" && mainPackage != "command-line-arguments" {
		return "go run " + mainPackage
	}
	return programName()
}
