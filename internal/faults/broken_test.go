//go:build unix

package faults_test

import (
	"context"
	"encoding/json"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/faults"
	"lumin-ingest/internal/measure"
)

// breakage is a change to the program that breaks one of its promises. The
// checks must notice it.
type breakage struct {
	name   string
	edits  []edit
	schema []string // statements that break the database
	faults []string // that reveal it, besides load
	notice []string // any of these invariants must be violated
}

// edit replaces a text that is in a file exactly once.
type edit struct{ file, old, new string }

// lost and doubled are the invariants that notice the loss of an event and a
// second effect.
var (
	lost    = []string{faults.AckedOnce, faults.Linearizable}
	doubled = []string{faults.EffectOnce, faults.Linearizable}
)

var breakages = []breakage{
	{
		name: "answer before commit",
		edits: []edit{
			{"store/record.go", "	defer conn.Release()\n	batch := &pgx.Batch{}\n", `	defer func() {
		go func() {
			_, _ = conn.Exec(context.Background(), "COMMIT")
			conn.Release()
		}()
	}()
	batch := &pgx.Batch{}
`},
			{"store/record.go", "	batch.Queue(`COMMIT`)\n", ""},
			{"store/record.go", `	if _, err := sent.Exec(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
`, ""},
		},
		faults: []string{"commit-request-lost"},
		notice: lost,
	},
	{
		name:   "no unique key",
		edits:  []edit{{"store/record.go", "    ON CONFLICT (event_key, source) DO NOTHING\n", ""}},
		schema: []string{"ALTER TABLE lumin.events DROP CONSTRAINT events_event_key_source_key"},
		faults: []string{"commit-reply-lost"},
		notice: []string{faults.AckedOnce, faults.Answers, faults.Linearizable},
	},
	{
		name: "effect outside the transaction",
		edits: []edit{
			{"worker/execute.go", "	\"github.com/riverqueue/river\"\n", `	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
`},
			{"worker/execute.go", "	managed := manage(claim.tx)\n", `	outside, err := pgx.ConnectConfig(ctx, claim.conn.Config())
	if err != nil {
		return err
	}
	defer outside.Close(context.WithoutCancel(ctx))
	own, err := outside.Begin(ctx)
	if err != nil {
		return err
	}
	managed := manage(own)
`},
			{"worker/execute.go", "	return x.commit(ctx, claim, attempt, maybeReplaced)\n", `	if err := own.Commit(ctx); err != nil {
		return err
	}
	return x.commit(ctx, claim, attempt, maybeReplaced)
`},
		},
		faults: []string{"commit-request-lost", "commit-reply-lost"},
		notice: doubled,
	},
	{
		name: "claim without lock",
		edits: []edit{{"store/claim.go", `    WHERE ` + "` + actsOnRun + `" + `
    FOR UPDATE SKIP LOCKED
), settled AS (`, `    WHERE ` + "` + actsOnRun + `" + `
), settled AS (`}},
		faults: []string{"job-rescue"},
		notice: doubled,
	},
}

// catchBound is the time within which a broken program must be caught.
const catchBound = time.Minute

// The checks notice programs that are broken on purpose, and only those.
func TestBrokenBuilds(t *testing.T) {
	if os.Getenv("LUMIN_TEST_BROKEN") == "" {
		t.Skip("slow: make test-broken runs it")
	}
	control := breakage{name: "nothing broken", faults: []string{"commit-request-lost", "commit-reply-lost", "job-rescue"}}
	for _, b := range append(slices.Clone(breakages), control) {
		t.Run(b.name, func(t *testing.T) {
			cfg := config(t)
			cfg.Program[0], cfg.Length, cfg.Rate = b.build(t), catchBound, 30
			var err error
			cfg.Faults, err = faults.Named(b.faults...)
			if err != nil {
				t.Fatal(err)
			}
			caught, err := faults.Catch(t.Context(), cfg, b.schema...)
			t.Logf("seed %d: %s", cfg.Seed, caught)
			if err != nil {
				t.Fatal(err)
			}
			measure.Log(t, b.name+": faults", float64(caught.Faults), "")
			measure.Log(t, b.name+": checks", float64(caught.Checks), "")
			expected := func(v faults.Violation) bool { return slices.Contains(b.notice, v.Checker) }
			if len(b.notice) == 0 && (len(caught.Violations) > 0 || caught.Checks < 10 || caught.Faults < 5) {
				t.Error("a program that is not broken was caught, or hardly tried")
			}
			if len(b.notice) > 0 {
				measure.Log(t, b.name+": noticed after", caught.After.Seconds(), "s")
				if !slices.ContainsFunc(caught.Violations, expected) {
					t.Errorf("not caught by any of %q", b.notice)
				}
				if caught.After > catchBound { // the last check may end later
					t.Errorf("caught after %s, more than %s", caught.After, catchBound)
				}
			}
		})
	}
}

// Every edit fits the code, and the result is Go. Whether it compiles and is
// caught is the matter of TestBrokenBuilds.
func TestBreakagesFit(t *testing.T) {
	t.Parallel()
	for _, b := range breakages {
		for file, text := range b.apply(t) {
			if _, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution); err != nil {
				t.Errorf("%s: %v", b.name, err)
			}
		}
	}
}

// apply returns the changed files, by their absolute paths.
func (b breakage) apply(t *testing.T) map[string]string {
	t.Helper()
	changed := map[string]string{}
	for _, e := range b.edits {
		path, err := filepath.Abs(filepath.Join("../..", e.file))
		if err != nil {
			t.Fatal(err)
		}
		text, known := changed[path]
		if !known {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = string(content)
		}
		if n := strings.Count(text, e.old); n != 1 {
			t.Fatalf("%s: %s has this text %d times, want once: rewrite the edit\n%s", b.name, e.file, n, e.old)
		}
		changed[path] = strings.Replace(text, e.old, e.new, 1)
	}
	return changed
}

// build builds this test binary, which is also the program, with the changed
// files in place of the real ones. It returns its path.
func (b breakage) build(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, text := range b.apply(t) {
		changed := filepath.Join(folder, strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "_"))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[path] = changed
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list, binary := filepath.Join(folder, "overlay.json"), filepath.Join(folder, "broken.test")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", list, "-o", binary, ".")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, output)
	}
	return binary
}
