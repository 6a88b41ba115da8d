package app

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
)

// programName is what this program is called: it may be one with job types of its
// user's own. It stands before errors.
func programName() string {
	return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
}

// invocation is what to type to run this program. Usage and advice begin with it.
func invocation() string {
	path := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		path = info.Path
	}
	return invocationOf(os.Args[0], path)
}

// goRun is where "go run" puts a program: a folder that is gone afterwards, or the
// cache of builds.
var goRun = regexp.MustCompile(`/go-build[^/]*/([^/]+/exe|([^/]+/)?[0-9a-f]{64}-d)/[^/]+$`)

// invocationOf derives it from the executable and the path of its main package.
func invocationOf(executable, mainPackage string) string {
	if goRun.MatchString(filepath.ToSlash(executable)) && mainPackage != "" && mainPackage != "command-line-arguments" {
		return "go run " + mainPackage
	}
	return programName()
}
