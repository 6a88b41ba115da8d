package version

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		stamped string
		build   debug.BuildInfo
		want    string
	}{
		{"a release", "", debug.BuildInfo{Main: debug.Module{Path: "lumin-ingest", Version: "v1.2.0"}}, "lumin-ingest v1.2.0"},
		{"a checkout", "", debug.BuildInfo{
			Main:     debug.Module{Path: "lumin-ingest", Version: "(devel)"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0a1b2c3d4e5f60718293"}, {Key: "vcs.modified", Value: "false"}},
		}, "lumin-ingest (devel) (revision 0a1b2c3d4e5f)"},
		{"a changed checkout", "", debug.BuildInfo{
			Main:     debug.Module{Path: "lumin-ingest", Version: "v0.0.0-20261126-0a1b2c3d4e5f+dirty"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0a1b2c3d4e5f60718293"}, {Key: "vcs.modified", Value: "true"}},
		}, "lumin-ingest v0.0.0-20261126-0a1b2c3d4e5f+dirty"},
		{"a changed checkout of another system", "", debug.BuildInfo{
			Main:     debug.Module{Path: "lumin-ingest"},
			Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "17"}, {Key: "vcs.modified", Value: "true"}},
		}, "lumin-ingest (devel) (revision 17, modified)"},
		{"a program of a user", "", debug.BuildInfo{
			Main: debug.Module{Path: "signing-jobs", Version: "v0.3.1"},
			Deps: []*debug.Module{{Path: "example.com/x", Version: "v9.9.9"}, {Path: "lumin-ingest", Version: "v1.2.0"}},
		}, "signing-jobs v0.3.1 with lumin-ingest v1.2.0"},
		{"beside a checkout of this module", "", debug.BuildInfo{
			Main: debug.Module{Path: "signing-jobs"},
			Deps: []*debug.Module{{Path: "lumin-ingest", Version: "v0.0.0", Replace: &debug.Module{Path: "../lumin-ingest"}}},
		}, "signing-jobs (devel) with lumin-ingest v0.0.0 (replaced)"},
		{"an image", "v1.2.0-3-g0a1b2c3", debug.BuildInfo{Main: debug.Module{Path: "lumin-ingest", Version: "(devel)"}}, "lumin-ingest v1.2.0-3-g0a1b2c3"},
		{"nothing is known", "", debug.BuildInfo{}, "lumin-ingest (devel)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := read(&test.build, test.stamped).String(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// The binary of this test is a build as well.
func TestRead(t *testing.T) {
	t.Parallel()
	if info := Read(); info.Module != library || !strings.HasPrefix(info.Go, "go1.") || !strings.Contains(info.Platform, "/") {
		t.Errorf("read %+v", info)
	}
}
