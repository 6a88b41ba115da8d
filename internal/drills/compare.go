//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/faults"
)

// compare waits until all runs are finished. It then compares the database with
// what was acknowledged.
func compare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	mayLose := flags.String("may-lose", "nothing", "what may be lost: nothing, everything, or what was acknowledged after a `time`, as in 2026-01-02T03:04:05.678Z")
	within := flags.Duration("within", 3*time.Minute, "how long to wait until all runs have succeeded")
	if err := flags.Parse(args); err != nil {
		return err
	}
	limit, err := parseLimit(*mayLose)
	if err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("compare needs the URL of the database and the files of the senders")
	}
	files := flags.Args()[1:]
	sent, err := faults.ReadSent(files...)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, flags.Arg(0))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	start := time.Now()
	if err := settle(ctx, conn, *within); err != nil {
		return err
	}
	fmt.Printf("all runs had succeeded after %s\n", time.Since(start).Round(100*time.Millisecond))
	c, err := faults.Compare(ctx, conn, sent, limit)
	if err != nil {
		return err
	}
	fmt.Printf("%d deliveries were acknowledged; %d events and %d effects are stored\n", c.Acknowledged, c.Events, c.Effects)
	for _, file := range files {
		part, err := faults.ReadSent(file)
		if err != nil {
			return err
		}
		fmt.Printf("lost of %s: %d acknowledged deliveries\n", filepath.Base(file), c.Lost(part))
	}
	return verdict(c)
}

// parseLimit returns the time from which on acknowledged deliveries may be lost.
func parseLimit(text string) (time.Time, error) {
	switch text {
	case "nothing":
		return time.Now().AddDate(100, 0, 0), nil
	case "everything":
		return time.Time{}, nil
	}
	limit, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return limit, fmt.Errorf("-may-lose: %q is no time; write nothing, everything, or a time as in 2026-01-02T03:04:05.678Z", text)
	}
	return limit, nil
}

// settle waits until every run has succeeded.
func settle(ctx context.Context, conn *pgx.Conn, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not all runs succeeded within %s", within))
	defer cancel()
	for {
		var open int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM lumin.runs WHERE state <> 'succeeded'`).Scan(&open)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || open == 0 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// verdict returns an error unless all invariants hold.
func verdict(c *faults.Comparison) error {
	var errs []error
	for _, v := range c.Violations {
		errs = append(errs, errors.New(v.String()))
	}
	if c.Acknowledged == 0 {
		errs = append(errs, errors.New("nothing was acknowledged, so nothing was compared"))
	}
	if len(errs) == 0 {
		fmt.Println("events, runs, jobs and effects agree with the acknowledged deliveries")
	}
	return errors.Join(errs...)
}
