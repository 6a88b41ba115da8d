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
		return limit, fmt.Errorf("-may-lose: %q is not a time; write nothing, everything, or a time as in 2026-01-02T03:04:05.678Z", text)
	}
	return limit, nil
}

// settle waits until every run has succeeded.
func settle(ctx context.Context, conn *pgx.Conn, within time.Duration) error {
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var open string
		if err := conn.QueryRow(ctx, openSQL).Scan(&open); err != nil || open == "" {
			return err
		}
		if time.Since(start) > within {
			return fmt.Errorf("not all runs succeeded within %s: %s", within, open)
		}
	}
}

// openSQL describes the runs that have not succeeded, by the state of their jobs.
const openSQL = `
SELECT coalesce(string_agg(format('%s runs of %s are %s and their jobs %s, due %s', n, job_kind, state, job, due), '; '), '')
FROM (
    SELECT r.job_kind, r.state, coalesce(j.state::text, 'missing') AS job, count(*) AS n, max(j.scheduled_at) AS due
    FROM lumin.runs r LEFT JOIN lumin.river_job j ON j.id = r.job_id
    WHERE r.state <> 'succeeded'
    GROUP BY 1, 2, 3) open`

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
