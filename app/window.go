package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	apiclient "lumin-ingest/admin/api/client"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// operatorWindow is what the commands of operators work on: a database, or a
// server that has one.
type operatorWindow interface {
	nameReader
	eventReader
	failureKeeper
	replayer
	laneKeeper
	conflictDecider
	eraser
	workReader
	Keys(ctx context.Context) ([]window.KeyUse, error)
	AuditLog(ctx context.Context, f operate.Filter) ([]operate.Row, error)
	Now(ctx context.Context) (time.Time, error)
}

var (
	_ operatorWindow = (*window.Window)(nil)
	_ operatorWindow = (*apiclient.Client)(nil)
)

// nameReader knows the names that filters may use.
type nameReader interface {
	Names(ctx context.Context) (window.Names, error)
	StoredKind(ctx context.Context, kind string) (bool, error)
	Fingerprints(ctx context.Context, state string) (names []string, all bool, err error)
}

// eventReader reads events.
type eventReader interface {
	Events(ctx context.Context, f store.EventFilter) iter.Seq2[store.EventSummary, error]
	Event(ctx context.Context, id int64) (store.EventDetails, error)
	EventsByKey(ctx context.Context, key lumin.EventKey) ([]store.EventSummary, error)
	EventsByJob(ctx context.Context, job int64) ([]store.EventSummary, error)
	Payload(ctx context.Context, id int64) ([]byte, error)
	Tail(ctx context.Context, f store.EventFilter) (window.Tail, []store.EventSummary, error)
}

// failureKeeper lists and changes failed runs and failed follow-up jobs.
type failureKeeper interface {
	Failures(ctx context.Context, f window.FailureFilter) (failures.Groups, error)
	AnyDismissed(ctx context.Context) (bool, error)
	PlanDismissal(ctx context.Context, f replay.Filter, exact bool) (window.Plan, error)
	Dismiss(ctx context.Context, f replay.Filter, reason string) (runs int64, err error)
	PlanRestoration(ctx context.Context, f replay.Filter, exact bool) (window.Plan, error)
	Restore(ctx context.Context, f replay.Filter, reason string) (runs int64, err error)
	FollowUps(ctx context.Context, kinds []string, limit int) ([]failures.FollowUp, error)
	FollowUpKinds(ctx context.Context) ([]string, error)
	RetryFollowUps(ctx context.Context, f failures.FollowUpFilter, reason string) (int64, error)
}

// replayer plans, orders and watches replays.
type replayer interface {
	PlanReplay(ctx context.Context, f replay.Filter, exact bool) (window.Plan, error)
	Replay(ctx context.Context, n replay.NewOrder) (id int64, err error)
	Replays(ctx context.Context, before int64, limit int) ([]replay.Order, error)
	ReplayOrder(ctx context.Context, id int64) (replay.Order, error)
	ReplayRuns(ctx context.Context, id int64) ([]store.RunCount, error)
	CancelReplay(ctx context.Context, id int64, reason string) error
}

// laneKeeper lists lanes and skips their heads.
type laneKeeper interface {
	Lanes(ctx context.Context, f lanes.Filter) ([]lanes.Lane, error)
	Lane(ctx context.Context, kind, signatureRequestID string) (lanes.Lane, error)
	LanePolicies(ctx context.Context) (map[string]string, error)
	SkipLane(ctx context.Context, held lanes.Lane, reason string) (bool, error)
}

// conflictDecider lists conflicts and decides about them.
type conflictDecider interface {
	Conflicts(ctx context.Context, f conflict.Filter) ([]conflict.Row, error)
	Signers(ctx context.Context, c conflict.Row, reveal bool) (window.Signers, error)
	Promote(ctx context.Context, c conflict.Row, reason string) (eventID int64, err error)
	DismissConflict(ctx context.Context, c conflict.Row, reason string) error
}

// workReader reads what waits and what is wrong, and controls queues.
type workReader interface {
	Status(ctx context.Context) (window.Status, error)
	Alerts(ctx context.Context, resolvedWithin time.Duration) (window.Alerts, error)
	Queues(ctx context.Context) ([]window.Queue, error)
	PauseQueue(ctx context.Context, queue, reason string) error
	ResumeQueue(ctx context.Context, queue, reason string) error
}

// eraser plans and orders erasures.
type eraser interface {
	PlanErasure(ctx context.Context, subject erasure.Subject, report func(searched, last int64)) (erasure.Plan, error)
	Erase(ctx context.Context, plan erasure.Plan, reason string) (id int64, err error)
	CarryOutErasure(ctx context.Context, id int64) (erasure.Order, error)
}

// behind says what a window looks through to, and which of its errors may disappear
// on their own.
func behind(w operatorWindow) (name string, temporary func(error) bool) {
	if _, ok := w.(*apiclient.Client); ok {
		return "server", apiclient.Temporary
	}
	return "database", transient
}

// repeated reports whether a server got an order again, after an attempt whose answer
// was lost.
func repeated(w operatorWindow) bool {
	c, ok := w.(*apiclient.Client)
	return ok && c.Repeated()
}

// noteRepeated adds to the number of changes what an earlier attempt may have done.
func noteRepeated(out io.Writer, w operatorWindow, changed int64) {
	switch {
	case !repeated(w):
	case changed == 0:
		fmt.Fprintln(out, "an earlier attempt, whose answer was lost, may have done it")
	default:
		fmt.Fprintln(out, "an earlier attempt, whose answer was lost, may have changed others")
	}
}

// windowSettings name the database or the server that a command of operators
// works on. A server takes precedence: DATABASE_URL is often set beside it.
type windowSettings struct {
	databaseSettings
	Server    string `name:"server" env:"LUMIN_INGEST_SERVER" placeholder:"URL" help:"URL of the admin listener of a running program, to use its API instead of the database."`
	Token     string `name:"token" hidden:"" env:"LUMIN_INGEST_TOKEN" help:"Token for the server."`
	PlainHTTP bool   `name:"plain-http" env:"LUMIN_INGEST_PLAIN_HTTP" help:"Send the token also over plain HTTP to another machine. Only for a network that you trust."`
	TokenFile string `name:"token-file" env:"LUMIN_INGEST_TOKEN_FILE" placeholder:"FILE" help:"File that holds the token for the server. Not needed on the machine of a server that has no tokens."`
}

// remote reports whether the command works on a server.
func (s windowSettings) remote() bool { return s.Server != "" }

// AfterApply warns about a file with a token that everyone on this machine can read.
func (s windowSettings) AfterApply(std streams) error {
	info, err := os.Stat(s.TokenFile)
	if s.remote() && err == nil && info.Mode().Perm()&0o004 != 0 {
		fmt.Fprintf(std.err, "%s: every user of this machine can read %s: run \"chmod o-r\" on it\n", programName(), s.TokenFile)
	}
	return nil // openWindow reports a file that cannot be read
}

// openWindow connects to the server or to the database, to read. The returned
// function ends that.
func (s windowSettings) openWindow(ctx context.Context) (operatorWindow, func(), error) {
	return s.openWindowAs(ctx, actorSettings{})
}

// openWindowAs is like openWindow, for a person who makes changes. A server knows
// the person by the token.
func (s windowSettings) openWindowAs(ctx context.Context, by actorSettings) (operatorWindow, func(), error) {
	if s.remote() {
		if by.By != "" {
			return nil, nil, advice.Usage("--by is given, and the server knows who you are by your token", "leave out --by")
		}
		c, err := s.api()
		return c, func() {}, err
	}
	st, closeStore, err := s.openStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	return window.New(st).As(operate.Actor{Name: by.actor(), Via: operate.Command}), closeStore, nil
}

func (s windowSettings) api() (*apiclient.Client, error) {
	token, err := secret("LUMIN_INGEST_TOKEN", s.Token, s.TokenFile)
	if err != nil {
		return nil, err
	}
	c, err := apiclient.New(apiclient.Config{Server: s.Server, Token: token, PlainHTTP: s.PlainHTTP})
	switch {
	case errors.Is(err, apiclient.ErrServer):
		return nil, advice.Usage(err.Error(), "write it like https://ingest.example.com, without a user, a query or a fragment")
	case errors.Is(err, apiclient.ErrToken):
		return nil, advice.Usage(cmp.Or(s.TokenFile, "LUMIN_INGEST_TOKEN")+" holds more than a token, or none: "+err.Error(),
			"of what \"token new\" prints, keep only the line that begins with lumin_; the other line belongs in ADMIN_TOKENS of the server")
	case errors.Is(err, apiclient.ErrPlainHTTP):
		return nil, advice.Usage(err.Error(), "write https:// in --server, or reach the server through a tunnel; --plain-http allows it in a network that you trust")
	}
	return c, err
}

// needDatabase refuses a server for a part of a command that needs the database.
func (s windowSettings) needDatabase(what string) error {
	if !s.remote() {
		return nil
	}
	return advice.Usage(what+" needs the database", "leave out --server, or unset LUMIN_INGEST_SERVER, and set DATABASE_URL")
}
