//go:build unix

// Command chaos carries out the project's fault plan. Each row of the plan is a
// fault to inject into the program, its servers or its network, and how often.
// The command injects the faults, checks the guarantees, and writes the figures.
// make chaos calls it.
//
//	go run ./internal/chaos -rows T3,T7 -seed 5 -scale 0.1 -out /tmp/chaos
//	go run ./internal/chaos -list
//
// A row is carried out by package faults, or by a test of another package.
// -scale reduces all sizes, and the result says so. The result also has the
// command that repeats each row. If a row fails, its logs and its ledger are
// kept, and their folder is printed.
//
// -out names the folder for result.json and result.md. Rows that are in these
// files already stay there, unless the same row is run again with the same seed.
//
// The command starts itself as the program under test (package subject). Run it
// inside the checkout, because it builds an older program and calls go test. T7
// needs Linux and root, because it mounts small disks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"lumin-ingest/internal/faults"
	"lumin-ingest/internal/faults/subject"
)

// programVariable turns this command into the program under test.
const programVariable = "FAULTS_PROGRAM"

func main() {
	if os.Getenv(programVariable) != "" {
		subject.Main() // does not return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// options are the flags of the command.
type options struct {
	rows   []string // empty means all
	seed   uint64
	scale  float64
	out    string // folder; empty writes none
	before string // commit of the older program for T16; empty: the last one without the newest migrations
	list   bool
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	rows := flags.String("rows", "", "rows to run, such as T3,T7; all by default")
	flags.Uint64Var(&o.seed, "seed", 0, "seed for all random decisions; 0 draws one")
	flags.Float64Var(&o.scale, "scale", 1, "fraction of the sizes in the plan, above 0 and up to 1")
	flags.StringVar(&o.out, "out", "", "folder for result.json and result.md; none by default")
	flags.StringVar(&o.before, "before", "", "`commit` of the older program for T16; by default the last one without the newest migrations")
	flags.BoolVar(&o.list, "list", false, "list the rows and their sizes")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.scale <= 0 || o.scale > 1 {
		return o, fmt.Errorf("-scale is %g; use a number above 0 and up to 1", o.scale)
	}
	for name := range strings.SplitSeq(*rows, ",") {
		if name = strings.ToUpper(strings.TrimSpace(name)); name != "" {
			o.rows = append(o.rows, name)
		}
	}
	if o.seed == 0 {
		o.seed = 1 + rand.Uint64N(1_000_000)
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	chosen, err := choose(o.rows)
	if err != nil {
		return err
	}
	if o.list {
		for _, r := range chosen {
			fmt.Printf("%-4s %s\n     %s\n", r.id, r.name, r.size)
		}
		return nil
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	failed := []string{}
	for _, r := range chosen {
		done := b.row(ctx, r)
		if !done.Passed {
			failed = append(failed, r.id)
		}
		if err := b.publish(done); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("rows that failed: %s; see above for the commands that repeat them", strings.Join(failed, ", "))
	}
	return nil
}

// row is one row of the plan: a scenario or a test.
type row struct {
	id, name, size string
	carryOut       func(ctx context.Context, b *bench, folder string) (*faults.Outcome, error)
}

// rows lists all rows in the order of the plan.
func rows() []row {
	var all []row
	for _, s := range faults.Scenarios() {
		all = append(all, row{s.ID, s.Name, s.Size, func(ctx context.Context, b *bench, folder string) (*faults.Outcome, error) {
			return s.Run(ctx, b.scenarioOptions(folder))
		}})
	}
	for _, t := range tests() {
		all = append(all, row{t.id, t.name, t.size, t.carryOut})
	}
	slices.SortStableFunc(all, func(a, b row) int { return number(a.id) - number(b.id) })
	return all
}

// number returns the number in the id of a row.
func number(id string) (n int) {
	_, _ = fmt.Sscanf(id, "T%d", &n) // every id begins with it
	return n
}

// choose returns the rows with these names; all without names.
func choose(names []string) ([]row, error) {
	all := rows()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []row
	for _, name := range names {
		at := slices.IndexFunc(all, func(r row) bool { return strings.EqualFold(r.id, name) })
		if at < 0 {
			return nil, fmt.Errorf("there is no row %s; -list shows all", name)
		}
		chosen = append(chosen, all[at])
	}
	return chosen, nil
}
