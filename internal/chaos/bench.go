//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/faults"
)

// bench carries out rows.
type bench struct {
	options
	self   string   // path of this command
	older  []string // the older program; nil until a row needs it
	folder string   // for what is built
	result result
}

func newBench(ctx context.Context, o options) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "lumin-chaos-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, self: self, folder: folder}
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return nil, err
		}
		if b.result, err = readResult(o.out); err != nil {
			return nil, err
		}
	}
	b.result.Machine, err = describe(ctx)
	return b, err
}

func (b *bench) close() { _ = os.RemoveAll(b.folder) }

func (b *bench) scenarioOptions(folder string) faults.Options {
	return faults.Options{
		Program: []string{b.self, "serve"}, Env: []string{programVariable + "=1"}, Folder: folder,
		Seed: b.seed, Scale: b.scale, Before: b.older, Log: progress,
	}
}

func progress(format string, args ...any) {
	fmt.Printf("  %s %s\n", time.Now().UTC().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// row carries out one row. The logs of a row that failed are kept.
func (b *bench) row(ctx context.Context, r row) rowResult {
	done := rowResult{Commit: commit(ctx), Date: time.Now().UTC().Format(time.DateOnly), Command: b.command(r)}
	fmt.Printf("%s: %s\n  %s\n", r.id, r.name, done.Command)
	begin := time.Now()
	folder, err := os.MkdirTemp("", "lumin-chaos-"+strings.ToLower(r.id)+"-")
	if err == nil && r.id == upgradeRow {
		err = b.buildOlder(ctx)
	}
	var out *faults.Outcome
	if err == nil {
		out, err = r.carryOut(ctx, b, folder)
	}
	if out == nil {
		out = &faults.Outcome{}
	}
	out.ID, out.Name, out.Size, out.Seed, out.Scale = r.id, r.name, r.size, b.seed, b.scale
	if err != nil && !slices.Contains(out.Problems, err.Error()) {
		out.Problems = append(out.Problems, err.Error())
	}
	done.Outcome, done.Passed = out, out.Passed()
	done.Lasted = time.Since(begin).Round(time.Second).Seconds()
	done.PerEvent, done.PerFault = ruleOfThree(out, out.Events), ruleOfThree(out, out.Faults)
	if done.Passed {
		_ = os.RemoveAll(folder)
		fmt.Printf("  passed in %.0f s\n", done.Lasted)
		return done
	}
	fmt.Printf("  FAILED after %.0f s; logs and ledger: %s\n  repeat it: %s\n", done.Lasted, folder, done.Command)
	for _, problem := range out.Problems {
		fmt.Printf("  - %s\n", problem)
	}
	return done
}

// ruleOfThree returns the rate below which failures are with 95 % confidence,
// after so many trials without one. 0 means that there is no such bound.
func ruleOfThree(out *faults.Outcome, trials int) float64 {
	if trials == 0 || out.Lost+out.Doubled+out.Violations > 0 {
		return 0
	}
	return 3 / float64(trials)
}

// command returns the command that repeats a row.
func (b *bench) command(r row) string {
	text := fmt.Sprintf("make chaos ROWS=%s SEED=%d", r.id, b.seed)
	if b.scale != 1 {
		text += fmt.Sprintf(" SCALE=%g", b.scale)
	}
	if b.before != "" && r.id == upgradeRow {
		text += " OLDER=" + b.before
	}
	return text
}

// upgradeRow is the row that needs an older program.
const upgradeRow = "T16"

// withoutMigrations is how many of the newest migrations the older program does
// not know if no commit is named.
const withoutMigrations = 2

// buildOlder builds the older program: that of a commit, or the last commit
// without its newest migrations.
func (b *bench) buildOlder(ctx context.Context) error {
	source := filepath.Join(b.folder, "source")
	const script = `set -e
root=$(git rev-parse --show-toplevel)
mkdir "$2"
git -C "$root" archive "$1" | tar -x -C "$2"`
	named := b.before
	if named == "" {
		named = "HEAD"
	}
	if err := command(ctx, "", "sh", "-c", script, "extract", named, source); err != nil {
		return fmt.Errorf("read commit %s: %w", named, err)
	}
	if b.before == "" {
		files, err := filepath.Glob(filepath.Join(source, "migrations", "sql", "*.sql"))
		if err != nil {
			return err
		}
		slices.Sort(files)
		for _, file := range files[max(0, len(files)-2*withoutMigrations):] { // up and down
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	program := filepath.Join(b.folder, "older")
	if err := command(ctx, source, "go", "build", "-buildvcs=false", "-o", program, "./internal/chaos"); err != nil {
		return fmt.Errorf("build the older program: %w", err)
	}
	b.older = []string{program, "serve"}
	return nil
}

// command runs a program in a folder; "" is the current one.
func command(ctx context.Context, folder, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, os.Stderr, os.Stderr
	return cmd.Run()
}

// commit returns the commit of the checkout, if git can say it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
