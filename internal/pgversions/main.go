//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "pgversions:", err)
		stop()
		os.Exit(1)
	}
}

// options are the command line: versions to test, flags of go test, packages.
type options struct {
	versions []int
	run      string // as in go test -run
	race     bool
	packages []string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("pgversions", flag.ContinueOnError)
	versions := flags.String("versions", "14 15 16 17 18", "major `versions` of PostgreSQL, separated by spaces")
	flags.StringVar(&o.run, "run", "", "run only tests whose name matches this `expression`")
	flags.BoolVar(&o.race, "race", false, "run the tests with the race detector")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for word := range strings.FieldsSeq(*versions) {
		major, err := strconv.Atoi(word)
		if err != nil {
			return o, fmt.Errorf("-versions: %q is not a major version; write it as in \"14 18\"", word)
		}
		o.versions = append(o.versions, major)
	}
	if len(o.versions) == 0 {
		return o, errors.New("-versions is empty; name at least one, as in \"14 18\"")
	}
	o.packages = flags.Args()
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if len(o.packages) == 0 {
		if o.packages, err = packagesWithServer(ctx); err != nil {
			return err
		}
	}
	var results []result
	for _, major := range o.versions {
		one := o.test(ctx, major)
		fmt.Print(one.details())
		results = append(results, one)
	}
	fmt.Print(summary(results))
	return verdict(results)
}

// test tests one version.
func (o options) test(ctx context.Context, major int) result {
	r := result{major: major}
	dir, err := programs(ctx, major)
	if err != nil {
		r.missing = err
		return r
	}
	// Package pgdev searches PATH first.
	environment := []string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH")}
	if r.version, r.missing = startedVersion(ctx, dir); r.missing == nil {
		fmt.Printf("PostgreSQL %s in %s\n", r.version, dir)
		o.goTest(ctx, environment, &r)
	}
	return r
}

// startedVersion starts a server as the tests do, and returns the version that
// it reports. It fails if package pgdev chooses programs in another folder.
func startedVersion(ctx context.Context, dir string) (string, error) {
	before := os.Getenv("PATH")
	if err := os.Setenv("PATH", dir+string(filepath.ListSeparator)+before); err != nil {
		return "", err
	}
	defer os.Setenv("PATH", before) //nolint:errcheck // it was set before
	server, err := pgdev.Start(ctx, pgdev.Config{})
	if err != nil {
		return "", err
	}
	defer server.Close()
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var version, used string
	err = conn.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1), setting FROM pg_config WHERE name = 'BINDIR'`).Scan(&version, &used)
	if err != nil {
		return version, err
	}
	resolved, err := filepath.EvalSymlinks(dir) // as the server does
	if err == nil && used != resolved {
		err = fmt.Errorf("the tests would use the programs in %s instead of those in %s", used, dir)
	}
	return version, err
}
