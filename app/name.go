package app

import (
	"os"
	"path/filepath"
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

// invocationOf derives it from the executable and the path of its main package.
// "go run" builds into a folder that is gone afterwards.
func invocationOf(executable, mainPackage string) string {
	built := strings.Contains(filepath.ToSlash(executable), "/go-build") && filepath.Base(filepath.Dir(executable)) == "exe"
	if built && mainPackage != "" && mainPackage != "command-line-arguments" {
		return "go run " + mainPackage
	}
	return programName()
}
