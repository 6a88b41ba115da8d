package manual

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// stage is one FROM of the Dockerfile with its instructions.
type stage struct {
	image, name  string
	instructions []instruction
}

type instruction struct{ keyword, args string }

func dockerfile(t *testing.T) []stage {
	t.Helper()
	return stagesOf(t, "Dockerfile")
}

// stagesOf reads the stages of a Dockerfile. It understands only the syntax
// that the Dockerfiles here use.
func stagesOf(t *testing.T, file string) []stage {
	t.Helper()
	var stages []stage
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(read(t, file), " ")
	for line := range strings.Lines(joined) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		keyword, args, _ := strings.Cut(line, " ")
		args = strings.TrimSpace(args)
		if keyword != strings.ToUpper(keyword) {
			t.Errorf("%q is not an instruction", line)
		}
		if keyword == "FROM" {
			fields := strings.Fields(args)
			s := stage{image: fields[0]}
			if len(fields) == 3 && fields[1] == "AS" {
				s.name = fields[2]
			}
			stages = append(stages, s)
			continue
		}
		if len(stages) == 0 {
			t.Fatalf("%q is before the first FROM", line)
		}
		last := &stages[len(stages)-1]
		last.instructions = append(last.instructions, instruction{keyword, args})
	}
	if len(stages) != 2 {
		t.Fatalf("%d stages, want one that builds and one that runs", len(stages))
	}
	return stages
}

// all returns the arguments of every instruction of a keyword.
func (s stage) all(keyword string) []string {
	var args []string
	for _, i := range s.instructions {
		if i.keyword == keyword {
			args = append(args, i.args)
		}
	}
	return args
}

// one returns the arguments of the only instruction of a keyword.
func (s stage) one(t *testing.T, keyword string) string {
	t.Helper()
	args := s.all(keyword)
	if len(args) != 1 {
		t.Fatalf("%d × %s in the stage of %s", len(args), keyword, s.image)
	}
	return args[0]
}

func unprivileged(user string) bool {
	uid, _, _ := strings.Cut(user, ":")
	n, err := strconv.Atoi(uid)
	return err == nil && n > 0
}

func TestDockerfileBuild(t *testing.T) {
	t.Parallel()
	build := dockerfile(t)[0]

	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if _, tag, _ := strings.Cut(build.image, ":"); !regexp.MustCompile(`^` + regexp.QuoteMeta(language) + `(\.\d+)?(-|$)`).MatchString(tag) {
		t.Errorf("builds with %s, go.mod requires go %s", build.image, language)
	}

	for _, args := range build.all("COPY") {
		fields := strings.Fields(args)
		for _, source := range fields[:len(fields)-1] {
			if _, err := os.Stat(filepath.Join(root, source)); err != nil {
				t.Errorf("COPY %s: %v", args, err)
			}
		}
	}

	compile := ""
	for _, args := range build.all("RUN") {
		if strings.Contains(args, "go build") {
			compile = args
		}
	}
	for _, want := range []string{"CGO_ENABLED=0 ", " -trimpath ", " -tags nodownload ", ` -ldflags "-s -w -X lumin-ingest/internal/version.stamped=$VERSION" `} {
		if !strings.Contains(compile, want) {
			t.Errorf("%q is missing in RUN %s", want, compile)
		}
	}
	if !slices.Contains(build.all("ARG"), "VERSION=") || !strings.Contains(read(t, "internal/version/version.go"), "\nvar stamped string\n") {
		t.Error("the version that is given to the build gets lost")
	}
	fields := strings.Fields(compile)
	if main := filepath.Join(root, fields[len(fields)-1], "main.go"); !exists(main) {
		t.Errorf("there is no %s", main)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func TestDockerfileImage(t *testing.T) {
	t.Parallel()
	stages := dockerfile(t)
	build, image := stages[0], stages[1]
	if image.image != "scratch" && !regexp.MustCompile(`:.*\d`).MatchString(image.image) {
		t.Errorf("%s is not pinned", image.image)
	}
	if user := image.one(t, "USER"); !unprivileged(user) {
		t.Errorf("USER %s is not a number, or root", user)
	}

	checkEntrypoint(t, image, copiedFiles(t, build, image))

	_, command, found := strings.Cut(image.one(t, "HEALTHCHECK"), " CMD ")
	var check []string
	if err := json.Unmarshal([]byte(command), &check); !found || err != nil {
		t.Errorf("HEALTHCHECK needs a shell, and the image has none: %v", err)
	}
	checkHealthCheck(t, check)
	settings := theProgram(t).settings()
	var listens []uint32
	for _, pair := range strings.Fields(image.one(t, "ENV")) {
		name, value, _ := strings.Cut(pair, "=")
		if !settings[name] {
			t.Errorf("%s is not a setting of the program", name)
		}
		port, found := strings.CutPrefix(value, "0.0.0.0:")
		n, err := strconv.ParseUint(port, 10, 16)
		if !found || err != nil {
			t.Errorf("%s=%s cannot be reached from outside the container", name, value)
		}
		listens = append(listens, uint32(n))
	}
	if ports := imagePorts(t); !slices.Equal(ports, listens) {
		t.Errorf("EXPOSE %v, but it listens on %v", ports, listens)
	}
}

// copiedFiles returns the path in the image of each file that is copied from
// the build stage, by its path there. It checks that the build stage makes
// them.
func copiedFiles(t *testing.T, build, image stage) map[string]string {
	t.Helper()
	made := regexp.MustCompile(`(?:-o|>|mkdir -p) (/out/\S+)`).FindAllStringSubmatch(strings.Join(build.all("RUN"), "\n"), -1)
	into := map[string]string{}
	for _, args := range image.all("COPY") {
		fields := strings.Fields(args)
		if len(fields) != 3 || fields[0] != "--from="+build.name {
			t.Fatalf("COPY %s does not copy one file from stage %q", args, build.name)
		}
		into[fields[1]] = fields[2]
	}
	for from := range into {
		known := from == "/etc/ssl/certs/ca-certificates.crt" // comes with the golang image
		for _, m := range made {
			known = known || m[1] == from || strings.HasPrefix(m[1], from+"/")
		}
		if !known {
			t.Errorf("nothing in the build stage makes %s", from)
		}
	}
	return into
}

// checkEntrypoint checks that the image starts the program with a valid command
// and without a shell.
func checkEntrypoint(t *testing.T, image stage, into map[string]string) {
	t.Helper()
	var entrypoint, cmd []string
	if err := json.Unmarshal([]byte(image.one(t, "ENTRYPOINT")), &entrypoint); err != nil {
		t.Fatalf("ENTRYPOINT needs a shell, and the image has none: %v", err)
	}
	if err := json.Unmarshal([]byte(image.one(t, "CMD")), &cmd); err != nil {
		t.Fatalf("CMD needs a shell, and the image has none: %v", err)
	}
	if len(entrypoint) != 1 || into["/out/lumin-ingest"] != entrypoint[0] {
		t.Errorf("ENTRYPOINT %v, the binary is at %s", entrypoint, into["/out/lumin-ingest"])
	}
	if problem := theProgram(t).problem(cmd); problem != "" {
		t.Errorf("CMD %v: %s", cmd, problem)
	}
}

// checkHealthCheck checks that a health check runs the program's own command,
// at its path in the image.
func checkHealthCheck(t *testing.T, check []string) {
	t.Helper()
	if len(check) < 2 || check[0] != "/lumin-ingest" || check[1] != "health" {
		t.Errorf("health check %v, want the program's own", check)
		return
	}
	if problem := theProgram(t).problem(check[1:]); problem != "" {
		t.Errorf("health check %v: %s", check, problem)
	}
}

// imagePorts returns the ports that the image exposes.
func imagePorts(t *testing.T) []uint32 {
	t.Helper()
	var ports []uint32
	for port := range strings.FieldsSeq(dockerfile(t)[1].one(t, "EXPOSE")) {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, uint32(n))
	}
	return ports
}

// .dockerignore excludes every secret and nothing that the build needs.
func TestDockerignore(t *testing.T) {
	t.Parallel()
	var patterns []string
	for line := range strings.Lines(read(t, ".dockerignore")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			if strings.ContainsAny(line, "/!") {
				t.Fatalf("%q is more than this test understands", line)
			}
			patterns = append(patterns, line)
		}
	}
	ignored := func(name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			matched, err := path.Match(pattern, name)
			return matched && err == nil
		})
	}
	for _, secret := range []string{".env", ".env.production", ".git"} {
		if !ignored(secret) {
			t.Errorf("%s gets into the image's build", secret)
		}
	}
	output, err := goTool(t.Context(), root, "readonly", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./cmd/lumin-ingest")
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(output)
	if len(packages) < 5 {
		t.Fatalf("packages %v", packages)
	}
	for _, needed := range append(packages, "lumin-ingest/go.mod", "lumin-ingest/go.sum") {
		folder, _, _ := strings.Cut(strings.TrimPrefix(needed, "lumin-ingest/"), "/")
		if ignored(folder) {
			t.Errorf("%s is left out of the build", needed)
		}
	}
}
