//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"lumin-ingest/internal/faults"
)

// send sends deliveries until ctx ends.
func send(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	seed := flags.Uint64("seed", 1, "seed that decides bodies and order")
	rate := flags.Int("rate", 50, "new events per second")
	once := flags.Bool("once", false, "never send an acknowledged delivery again")
	again := flags.String("again", "", "`file` of an earlier sender, whose deliveries without a 200 are sent first")
	drain := flags.Duration("drain", time.Minute, "how long to repeat, after SIGTERM, what has no 200 yet; 0 stops at once")
	name := flags.String("name", "sent", "`path` of the two files to write, without .jsonl and .ledger.jsonl")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || *rate < 1 {
		return errors.New("send needs the URL of the public listener, and a rate above 0")
	}
	ledger, err := faults.NewLedger(*name + ".ledger.jsonl")
	if err != nil {
		return err
	}
	sender := faults.Sender{URL: strings.TrimSuffix(flags.Arg(0), "/"), Seed: *seed, Rate: *rate, Once: *once, Ledger: ledger}
	if *again != "" {
		if sender.Again, err = faults.ReadSent(*again); err != nil {
			return err
		}
	}
	draining, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	context.AfterFunc(ctx, func() { time.AfterFunc(*drain, giveUp) })
	sender.Run(draining, ctx)

	c := ledger.Counts()
	fmt.Printf("sent %d deliveries in %d attempts: %d acknowledged, %d of them again; longest time without a 200: %s\n",
		c.Deliveries, c.Attempts, c.Acknowledged, c.Redelivered, ledger.LongestPause().Round(10*time.Millisecond))
	err = errors.Join(ledger.WriteSent(*name+".jsonl"), ledger.Close())
	if unexpected := ledger.Unexpected(); len(unexpected) > 0 {
		err = errors.Join(err, fmt.Errorf("%d unexpected answers, such as: %s", len(unexpected), unexpected[0]))
	}
	if left := c.Deliveries - c.Acknowledged; left > 0 && *drain > 0 {
		err = errors.Join(err, fmt.Errorf("%d deliveries were not answered 200 within %s; see %s", left, *drain, filepath.Base(*name+".ledger.jsonl")))
	}
	return err
}
