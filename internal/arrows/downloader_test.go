package arrows

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Only the command dev, which is part of app, may import the downloader of
// PostgreSQL: it brings a second PostgreSQL driver and package testing. Tests
// use an installed PostgreSQL.
func TestDownloaderHasOneUser(t *testing.T) {
	t.Parallel()
	const downloader = module + "/internal/pgdownload"
	var users []string
	for line := range strings.Lines(goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}`, module+"/...")) {
		fields := strings.Fields(line)
		if slices.Contains(fields[1:], downloader) {
			users = append(users, strings.TrimPrefix(fields[0], module+"/"))
		}
	}
	if !slices.Equal(users, []string{"app"}) {
		t.Errorf("%s is imported by %v, want only app", downloader, users)
	}
}

// The images are built with the tag nodownload, which leaves the downloader and
// all its libraries out.
func TestImagesLeaveDownloaderOut(t *testing.T) {
	t.Parallel()
	program := module + "/cmd/lumin-ingest"
	linked := strings.Fields(goList(t, "-deps", program))
	without := strings.Fields(goList(t, "-tags", "nodownload", "-deps", program))
	for _, library := range []string{"github.com/fergusstrange/embedded-postgres", "github.com/lib/pq", "github.com/xi2/xz", "testing"} {
		if !slices.Contains(linked, library) {
			t.Errorf("%s is not linked in an ordinary build, so this test proves nothing", library)
		}
		if slices.Contains(without, library) {
			t.Errorf("%s is linked in spite of the tag", library)
		}
	}
	if out, err := exec.Command("go", "build", "-tags", "nodownload", module+"/internal/pgdownload").CombinedOutput(); err != nil {
		t.Errorf("go build: %v: %s", err, out)
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &stderr)
	}
	return string(out)
}
