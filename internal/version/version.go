// Package version identifies the build of the program, from the facts that the
// Go command writes into the binary.
//
// Use it wherever a running program identifies itself: its version command, its
// log, its row in lumin.programs.
//
// It never fails, and it needs no setup where the build can see the repository.
// Elsewhere, as in an image, the linker sets the version:
//
//	go build -ldflags '-X lumin-ingest/internal/version.stamped=v1.2.0'
//
// Facts that the binary does not contain are omitted.
//
//	fmt.Println(version.String()) // lumin-ingest v1.2.0 (revision 0a1b2c3d4e5f)
package version

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"strings"
)

// library is the path of the module that this package belongs to.
const library = "lumin-ingest"

//nolint:gochecknoglobals // the linker can set nothing else
var stamped string

// Info describes the build of a binary. An empty text means unknown.
type Info struct {
	Module   string // path of the main module: a user's own, or this one
	Version  string // version of the main module; (devel) if unknown
	Library  string // version of lumin-ingest where that is not the main module
	Revision string // revision in version control
	Modified bool   // whether files differed from that revision
	Go       string // version of Go
	Platform string // such as linux/amd64
}

// Read returns the Info of this binary.
func Read() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return read(build, stamped)
}

// String describes this binary in a few words: module, version and revision.
func String() string { return Read().String() }

func read(build *debug.BuildInfo, stamped string) Info {
	info := Info{
		Module: build.Main.Path, Version: build.Main.Version,
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	info.Version = cmp.Or(stamped, info.Version, "(devel)")
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Revision = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	if info.Module != library {
		for _, m := range build.Deps {
			if m.Path == library {
				info.Library = m.Version
				if m.Replace != nil {
					info.Library += " (replaced)"
				}
			}
		}
	}
	return info
}

// shortRevision is how many digits of a revision are shown.
const shortRevision = 12

// String describes the build in a few words.
func (i Info) String() string {
	var b strings.Builder
	b.WriteString(i.Module)
	if i.Module == "" {
		b.WriteString(library)
	}
	b.WriteString(" " + i.Version)
	revision := i.Revision[:min(len(i.Revision), shortRevision)]
	if !strings.Contains(i.Version, revision) { // versions that the Go command makes contain the revision
		b.WriteString(" (revision " + revision)
		if i.Modified {
			b.WriteString(", modified")
		}
		b.WriteString(")")
	}
	if i.Library != "" {
		b.WriteString(" with " + library + " " + i.Library)
	}
	return b.String()
}
