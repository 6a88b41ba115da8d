//go:build unix

package faults_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/faults"
	"lumin-ingest/internal/faults/subject"
	"lumin-ingest/internal/measure"
)

// programVariable turns the test binary into the program under test.
const programVariable = "FAULTS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		subject.Main()
	}
	os.Exit(m.Run())
}

// config returns the configuration of a run with this test binary as the
// program.
func config(t *testing.T) faults.Config {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return faults.Config{
		Program: []string{binary, "serve"}, Env: []string{programVariable + "=1"},
		Folder: t.TempDir(), Seed: seed(t), Rate: int(setting(t, "RATE", 60)), Log: t.Logf,
	}
}

// setting returns a number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	return number(t, "LUMIN_TEST_FAULTS_"+name, otherwise)
}

// seed returns the seed of a run. It is in the same variable as that of other
// tests, or is drawn.
func seed(t *testing.T) uint64 {
	t.Helper()
	return number(t, measure.SeedVariable, rand.Uint64N(1_000_000))
}

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func run(t *testing.T, cfg faults.Config) {
	t.Helper()
	t.Logf("seed %d", cfg.Seed)
	result, err := faults.Run(context.WithoutCancel(t.Context()), cfg)
	t.Logf("\n%s", result.Markdown())
	if path := os.Getenv("LUMIN_TEST_FAULTS_REPORT"); path != "" {
		text, jsonErr := result.JSON()
		if err := errors.Join(jsonErr, os.WriteFile(path, text, 0o600)); err != nil {
			t.Error(err)
		}
	}
	err = errors.Join(err, result.Err())
	if err != nil || os.Getenv("LUMIN_TEST_FAULTS_KEEP") != "" {
		keep(t, cfg.Folder)
	}
	if err != nil {
		t.Fatalf("seed %d: %v", cfg.Seed, err)
	}
}

// keep copies the ledger and the logs to a folder that is not deleted.
func keep(t *testing.T, folder string) {
	t.Helper()
	kept, err := os.MkdirTemp("", "lumin-faults-")
	if err == nil {
		err = os.CopyFS(kept, os.DirFS(folder))
	}
	t.Logf("the ledger and the logs are kept in %s (%v)", kept, err)
}

// No acknowledged event is lost and no effect takes place twice. Chance decides which COMMITs
// are lost. If the program answers before its commit, the test notices it only
// if some of these COMMITs record deliveries. If a job takes effect twice, the
// test notices it only if some belong to a transactional job type. So there are
// several draws.
//
// It runs beside no other run with faults: with the race detector, the programs of
// both would be slower than their deliveries.
func TestFewFaults(t *testing.T) {
	cfg := config(t)
	cfg.InOrder, cfg.Standby, cfg.Rate = true, true, 20
	var err error
	cfg.Faults, err = faults.Named("network-cut", "commit-request-lost", "program-terminate", "commit-reply-lost", "program-kill",
		"commit-request-lost", "server-restart", "commit-reply-lost", "failover", "commit-request-lost", "server-immediate", "backends-terminate")
	if err != nil {
		t.Fatal(err)
	}
	run(t, cfg)
}

// A row of the fault plan in its smallest size. make chaos runs all rows. It runs
// alone, and its rate is low, as that of TestFewFaults: other packages are tested
// meanwhile, and recovery has a bound.
func TestScenario(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := faults.Scenarios()
	row := all[slices.IndexFunc(all, func(s faults.Scenario) bool { return s.ID == "T4" })]
	folder := t.TempDir()
	out, err := row.Run(context.WithoutCancel(t.Context()), faults.Options{
		Program: []string{binary, "serve"}, Env: []string{programVariable + "=1"},
		Folder: folder, Seed: seed(t), Scale: 0.001, Rate: 15, Log: t.Logf,
	})
	if err != nil || !out.Passed() {
		keep(t, folder)
		t.Fatalf("seed %d: %v %q", out.Seed, err, out.Problems)
	}
	if out.Faults != 20 || out.Events < 150 || out.Damages == 0 || out.First200 == nil || out.First200.N != 20 || out.LastEffect == nil {
		t.Errorf("outcome %+v", out)
	}
}

// TestFewFaults with all faults, including failovers, in an order that the seed
// decides. LUMIN_TEST_FAULTS_FOR is the length of the run. To select faults,
// name them in LUMIN_TEST_FAULTS_ONLY or LUMIN_TEST_FAULTS_EXCEPT, separated by
// commas.
func TestManyFaults(t *testing.T) {
	t.Parallel()
	text := os.Getenv("LUMIN_TEST_FAULTS_FOR")
	if text == "" {
		t.Skip("slow: make test-faults runs it")
	}
	cfg := config(t)
	var err error
	if cfg.Length, err = time.ParseDuration(text); err != nil {
		t.Fatal(err)
	}
	cfg.Standby, cfg.Faults = true, faults.All()
	if only := named(t, "ONLY"); only != nil {
		cfg.Faults = only
	}
	for _, f := range named(t, "EXCEPT") {
		cfg.Faults = slices.DeleteFunc(cfg.Faults, func(one faults.Fault) bool { return one.Name == f.Name })
	}
	run(t, cfg)
}

// named returns the faults that a variable names, or nil if it is not set.
func named(t *testing.T, variable string) []faults.Fault {
	t.Helper()
	names := os.Getenv("LUMIN_TEST_FAULTS_" + variable)
	if names == "" {
		return nil
	}
	chosen, err := faults.Named(strings.Split(names, ",")...)
	if err != nil {
		t.Fatal(err)
	}
	return chosen
}
