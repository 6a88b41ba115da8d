package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/textbook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run does what the first argument names. The benchmark starts itself again for
// the processes that it needs.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return load.Main(ctx, args[1], os.Stdin, os.Stdout)
		case "textbook":
			return textbook.Main(ctx)
		case "program":
			os.Args = slices.Delete(os.Args, 1, 2)
			runProgram() // does not return
		}
	}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return measure(ctx, o)
}

// options are the flags of the benchmark.
type options struct {
	scenarios []string
	only      []string // contestants; nil means all
	rounds    int
	seconds   float64 // of load in each turn
	backlog   int     // events that wait in P4 and P6
	large     int     // events that wait in P7
	events    int     // events in the filled database
	out       string  // folder for the results; "" writes none
	before    string  // commit
	pool      int     // connections of textbook
	variants  []variant
	quick     bool
	command   string
}

// variant is the program with other settings.
type variant struct {
	name string
	env  []string
}

func parse(args []string) (options, error) {
	o := options{command: "bench " + strings.Join(args, " ")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	scenarios := flags.String("scenario", "", "scenarios to run, such as p1,p4; all by default: "+strings.Join(scenarioIDs(), ", "))
	only := flags.String("only", "", "contestants to run, such as ours,textbook; all by default")
	flags.IntVar(&o.rounds, "rounds", 3, "number of rounds")
	flags.Float64Var(&o.seconds, "seconds", 8, "seconds of load in each turn")
	flags.IntVar(&o.backlog, "backlog", 20_000, "events that wait for a worker in p4 and p6")
	flags.IntVar(&o.large, "large-backlog", 50_000, "events that wait for a worker in p7")
	flags.IntVar(&o.events, "events", 10_000_000, "events in the filled database of p9")
	flags.StringVar(&o.out, "out", "", "folder for result.json, result.md and the pictures; none are written by default")
	flags.StringVar(&o.before, "before", "", "an older commit, such as v0.1.0, to compare with; it is built here")
	flags.IntVar(&o.pool, "textbook-connections", connections, "connections of textbook to PostgreSQL; the default is in its favor")
	flags.BoolVar(&o.quick, "quick", false, "short turns of the main scenarios, for their checks only")
	flags.Func("variant", `the program with other settings in p1 to p5 and p7, as "NAME: KEY=VALUE KEY=VALUE"; may be repeated`, func(text string) error {
		name, env, found := strings.Cut(text, ":")
		if !found || strings.TrimSpace(name) == "" {
			return errors.New("write NAME: KEY=VALUE")
		}
		o.variants = append(o.variants, variant{"ours " + strings.TrimSpace(name), strings.Fields(env)})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if o.quick {
		o.rounds, o.seconds, o.backlog, o.large = 1, 1, 400, 400
	}
	if o.rounds < 1 || o.seconds <= 0 || o.backlog < 1 || o.large < 1 || o.pool < 4 || o.events < 1000 {
		return o, errors.New("rounds, seconds and backlogs must be positive, events at least 1000 and connections at least 4")
	}
	o.only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	for id := range strings.SplitSeq(*scenarios, ",") {
		if id = strings.ToLower(strings.TrimSpace(id)); id == "" {
			continue
		}
		if !slices.Contains(scenarioIDs(), id) {
			return o, fmt.Errorf("unknown scenario %q; there are %s", id, strings.Join(scenarioIDs(), ", "))
		}
		o.scenarios = append(o.scenarios, id)
	}
	return o, nil
}
