package app

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"lumin-ingest/internal/advice"
	"lumin-ingest/store/operate"
)

// actorSettings name the person who makes a change.
type actorSettings struct {
	By string `placeholder:"WHO" help:"Who makes this change. By default the user and host of this program."`
}

// actor returns the name to record with the change.
func (s actorSettings) actor() string { return cmp.Or(s.By, currentActor()) }

// currentActor returns the user and host of this program, as far as they are
// known.
func currentActor() string {
	actor := "unknown user"
	if u, err := user.Current(); err == nil {
		actor = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		actor += "@" + host
	}
	return actor
}

// checkReason refuses a change without a reason, with this advice.
func checkReason(reason, remedy string) error {
	if strings.TrimSpace(reason) == "" {
		return advice.Usage("no reason is given", "%s", remedy)
	}
	return nil
}

// change is a change to stored data that a command has planned. Every command
// that makes one takes the same steps: show the plan, stop if there is nothing
// to do or if only the plan was requested, ask for --yes, make the change.
type change struct {
	show   func() error // prints the plan, or why there is nothing to do; nil if apply does that
	empty  bool         // there is nothing to do
	dryRun func() error // ends a dry run; nil if this is none
	refuse error        // asks for --yes; nil if it is given or not needed
	apply  func() error // makes the change and reports it
}

// carryOut takes the steps in their order.
func (c change) carryOut() error {
	if c.show != nil {
		if err := c.show(); err != nil {
			return err
		}
	}
	switch {
	case c.empty:
		return nil
	case c.dryRun != nil:
		return c.dryRun()
	case c.refuse != nil:
		return c.refuse
	}
	return c.apply()
}

// unsure adds to the error of a change that was carried out, or may have been, what to
// do before it is repeated: look is what shows it.
func unsure(err error, look string, args ...any) error {
	switch {
	case errors.Is(err, operate.ErrNoOutcome):
		return advice.Add(err, "it needs no repetition; "+look, args...)
	case errors.Is(err, operate.ErrInDoubt):
		return advice.Add(err, "before you repeat it: "+look, args...)
	}
	return err
}

// interruption is the error of a command that a signal has ended. It keeps what the
// command advises.
func interruption(err error) error {
	problem := errors.New("interrupted") // the sender of the signal knows why
	if errors.Is(err, operate.ErrInDoubt) {
		problem = fmt.Errorf("interrupted; %w", operate.ErrInDoubt)
	}
	if remedy := advice.Given(err); remedy != "" {
		return advice.Add(problem, "%s", remedy)
	}
	return problem
}

// noChange ends a dry run.
func noChange(w io.Writer) error {
	_, err := fmt.Fprintln(w, "dry run: nothing changed")
	return err
}
