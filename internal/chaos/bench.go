//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/faults"
)

// bench carries out rows.
type bench struct {
	options
	self    string   // path of this command
	older   []string // the older program; nil until a row needs it
	olderIs string   // its commit
	folder  string   // for what is built
	result  result
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
	if r.id == upgradeRow {
		done.Older = b.olderIs
	}
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
// after so many trials without one. 0 means that there is no such bound, as in a
// row that may lose deliveries.
func ruleOfThree(out *faults.Outcome, trials int) float64 {
	if trials == 0 || out.Loses || out.Lost+out.Doubled+out.Violations > 0 {
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

// command runs a program in a folder; "" is the current one.
func command(ctx context.Context, folder, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, os.Stderr, os.Stderr
	return cmd.Run()
}

// commit returns the commit of the checkout, if git knows it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
