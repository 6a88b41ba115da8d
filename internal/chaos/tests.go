//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/faults"
	"lumin-ingest/internal/measure"
)

// test is a row that a test of another package carries out. The test takes its
// size from a variable and logs its figures with package measure.
type test struct {
	id, name, size string
	run            string // pattern of the tests
	folder         string // of the package
	variable       string // with the size
	full           int
}

func tests() []test {
	return []test{
		{
			id: "T9", name: "a fake clock through all seven of Lumin's attempts, and the freshness window ± 1 ms",
			size: "10,000 events; every retry accepted", run: "^TestRetriesOfManyEvents$", folder: "./ingest",
			variable: "LUMIN_TEST_RETRIES", full: 10_000,
		},
		{
			id: "T10", name: "writers with reversed key order, duplicate keys inside and across batches",
			size: "16 writers × 5,000 events; no deadlock reaches a caller", run: "^TestWritersInOppositeOrder$", folder: "./store",
			variable: "LUMIN_TEST_WRITERS", full: 5000,
		},
		{
			id: "T11", name: "permuted, duplicated histories with equal times",
			size: "10,000 through the database; one final state each", run: "^TestConcurrentHistories$", folder: "./worker/jobs/requeststate",
			variable: "LUMIN_TEST_HISTORIES", full: 10_000,
		},
		{
			id: "T15", name: "slow connections, an endless chunked body, a gzip bomb, malformed HTTP",
			size: "2,000 connections; memory < 256 MiB, an honest client's p99 < 1 s", run: "^TestHostileCallers$", folder: "./app",
			variable: "LUMIN_TEST_HOSTILE", full: 2000,
		},
		{
			id: "T16k", name: "the connection of a migration is ended at a statement; the next migration continues",
			size: "at each command of all migrations that creates, changes or drops something, up and down", run: "^TestKilledAtEachStatement$", folder: "./migrations",
			variable: "LUMIN_TEST_MIGRATION_KILLS", full: 1000,
		},
		{
			id: "T18", name: "negative controls: broken builds, which the invariants must notice",
			size: "each build noticed within 60 s", run: "^TestBrokenBuilds$", folder: "./internal/faults",
			variable: "LUMIN_TEST_BROKEN", full: 1,
		},
	}
}

// carryOut calls go test.
func (t test) carryOut(ctx context.Context, b *bench, folder string) (*faults.Outcome, error) {
	size := max(1, int(float64(t.full)*b.scale+0.5))
	cmd := exec.CommandContext(ctx, "go", "test", "-count", "1", "-json", "-timeout", "3h", "-run", t.run, t.folder)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", t.variable, size), fmt.Sprintf("%s=%d", measure.SeedVariable, b.seed))
	cmd.Stderr = os.Stderr
	log, err := os.Create(filepath.Join(folder, "test.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	out, err := readTest(io.TeeReader(stdout, log))
	if waitErr := cmd.Wait(); err == nil && waitErr != nil && len(out.Problems) == 0 {
		err = fmt.Errorf("go test: %w", waitErr)
	}
	out.Lasted = time.Since(begin).Seconds()
	return out, err
}

// event is one line of the output of go test -json.
type event struct {
	Action, Test, Output string
	Elapsed              float64 // seconds
}

// readTest reads the output of go test -json. Without a test that passed it
// reports a problem.
func readTest(from io.Reader) (*faults.Outcome, error) {
	out := &faults.Outcome{}
	passed := 0
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the output of a build that failed
		}
		switch {
		case e.Action == "pass" && e.Test != "":
			passed++
			if _, part, isPart := strings.Cut(e.Test, "/"); isPart {
				addFigure(out, "passed: "+part, e.Elapsed, "s")
			}
		case e.Action == "fail" && e.Test != "":
			out.Problems = append(out.Problems, e.Test+" failed")
		case e.Action == "skip" && e.Test != "":
			out.Problems = append(out.Problems, e.Test+" was skipped")
		case e.Action == "output":
			if err := addFigures(out, e.Output); err != nil {
				return out, err
			}
		}
	}
	if passed == 0 && len(out.Problems) == 0 {
		out.Problems = append(out.Problems, "no test ran")
	}
	return out, lines.Err()
}

// addFigures adds the figures in a line of output: one of package measure, or an
// object in JSON.
func addFigures(out *faults.Outcome, line string) error {
	name, value, unit, found, err := measure.Parse(line)
	if err != nil {
		return err
	}
	if found {
		addFigure(out, name, value, unit)
		return nil
	}
	_, text, isLog := strings.Cut(line, "_test.go:")
	_, text, isObject := strings.Cut(text, ": {")
	object := map[string]any{}
	if isLog && isObject && json.Unmarshal([]byte("{"+text), &object) == nil {
		addObject(out, "", object)
	}
	return nil
}

// addObject adds the numbers in an object, in the order of their names.
func addObject(out *faults.Outcome, path string, object map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch value := object[name].(type) {
		case float64:
			addFigure(out, path+name, value, "")
		case map[string]any:
			addObject(out, path+name+" ", value)
		case []any:
			for n, one := range value {
				if number, isNumber := one.(float64); isNumber {
					addFigure(out, fmt.Sprintf("%s%s %d", path, name, n+1), number, "")
				}
			}
		}
	}
}

// addFigure adds a figure of a test to the outcome.
func addFigure(out *faults.Outcome, name string, value float64, unit string) {
	for common, to := range map[string]*int{
		"events": &out.Events, "deliveries": &out.Events, "attempts": &out.Attempts, "faults": &out.Faults, "connections": &out.Faults,
		"lost": &out.Lost, "doubled": &out.Doubled,
	} {
		if name == common {
			*to = int(value)
			return
		}
	}
	out.Measures = append(out.Measures, faults.Measure{Name: name, Value: value, Unit: unit})
}
