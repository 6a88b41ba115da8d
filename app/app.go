package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/machine"
	"lumin-ingest/internal/service"
	"lumin-ingest/internal/servicelog"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// Env holds what job types may need from the program that runs them.
type Env struct {
	Logger *slog.Logger // the program's log; within an attempt, use worker.Logger

	// DB is a pool on the database that holds the events, for plain job types.
	// It has at most WORKERS connections, 16 by default, and connects when it is
	// first used. A transactional job type writes through its tx instead: the
	// exactly-once guarantee does not cover anything else.
	DB *pgxpool.Pool

	// Lumin is a client of Lumin's API with LUMIN_API_KEY. It is nil if
	// LUMIN_API_KEY is not set; then LuminAPIKey is empty.
	Lumin       *lumin.Client
	LuminAPIKey string

	retainEvents time.Duration // RETAIN_EVENTS, for what is built in
}

// JobTypes returns a registry with the job types of a program. Main adds the
// built-in ones to it. The function is called only by serve, dev and replay --try,
// so the other commands work without the systems that job types connect to.
type JobTypes func(ctx context.Context, env Env) (*worker.Registry, error)

// Main runs the command line of the process, with these job types and the
// built-in ones that the settings enable. nil means only the built-in ones.
// Main exits with 0 on success, 2 if it was called wrongly, and 1 on any other
// failure.
//
// A bucket in ARCHIVE_URL other than file:// needs a driver. The program
// imports it:
//
//	import _ "gocloud.dev/blob/s3blob"
func Main(jobTypes JobTypes) {
	machine.LimitMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal stops gracefully, and a second one ends the program at
	// once. During serve's drain delay, a second signal only skips the rest of
	// the delay.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, jobTypes)
	stop()
	os.Exit(code)
}

// streams are the standard streams of a command.
type streams struct {
	in       io.Reader
	out, err io.Writer

	log *servicelog.Queue // behind err of serve and dev; nil for other commands
}

// commands is the command line. Each command is a struct in a file of its own.
type commands struct {
	Serve     serveCommand     `cmd:"" help:"Receive deliveries and run the jobs of their events."`
	Dev       devCommand       `cmd:"" help:"Try the program: start a private PostgreSQL and the program, and run a demo on them."`
	Migrate   migrateCommand   `cmd:"" help:"Bring the database schema up to date, or undo migrations."`
	Trigger   triggerCommand   `cmd:"" help:"Send correctly signed sample deliveries."`
	Events    eventsCommand    `cmd:"" help:"Show stored events."`
	Conflicts conflictsCommand `cmd:"" help:"List events that were delivered again with different content, and decide about them."`
	Failures  failuresCommand  `cmd:"" help:"List failed and retrying runs by job type and error; dismiss failed runs, and restore them."`
	Lanes     lanesCommand     `cmd:"" help:"List lanes of ordered job types that wait, and skip a failed run that holds one."`
	FollowUps followUpsCommand `cmd:"" help:"List follow-up jobs that have failed for good, and put them back into the queue."`
	Replay    replayCommand    `cmd:"" help:"Repeat failed runs, or other runs that the filters choose."`
	Replays   replaysCommand   `cmd:"" help:"List, watch and cancel replays."`
	Queues    queuesCommand    `cmd:"" help:"List queues and their jobs; pause and resume a queue."`
	Status    statusCommand    `cmd:"" help:"Show what waits, runs and has failed, and what needs attention."`
	Alerts    alertsCommand    `cmd:"" help:"List the alerts that hold, examine their conditions, and test the webhook."`
	Doctor    doctorCommand    `cmd:"" help:"Check the database, its queue and the public URL, and show a remedy for each problem."`
	Retention retentionCommand `cmd:"" help:"Remove bodies and events that are past their retention age. A running worker does this automatically."`
	Erase     eraseCommand     `cmd:"" help:"Erase signature requests: by id, or all that mention an e-mail address."`
	Audit     auditCommand     `cmd:"" help:"Check stored events against their hashes, signatures and identity."`
	AuditLog  auditLogCommand  `cmd:"" help:"List the changes that people made: who, what, from where and why."`
	Token     tokenCommand     `cmd:"" help:"Make a token for the dashboard and its API."`
	Reconcile reconcileCommand `cmd:"" help:"Compare the state of open signature requests with Lumin's API."`
	Recover   recoverCommand   `cmd:"" help:"Record the events that Lumin has given up delivering, as far as its API proves them."`
	Keys      keysCommand      `cmd:"" help:"Show the configured keys, and when each was first and last used."`
	Sign      signCommand      `cmd:"" help:"Compute the X-Signature of a body."`
	Verify    verifyCommand    `cmd:"" help:"Check the X-Signature of a body."`
	Health    healthCommand    `cmd:"" help:"Check that a running program is ready, through its admin listener."`
	Version   versionCommand   `cmd:"" help:"Show the version of this program."`
}

// isServing reports whether a command runs until it is stopped. Such a command
// must not depend on the readers of its output.
func isServing(command string) bool { return command == "serve" || command == "dev" }

func run(ctx context.Context, args []string, std streams, jobTypes JobTypes) int {
	if jobTypes == nil {
		jobTypes = func(context.Context, Env) (*worker.Registry, error) { return worker.NewRegistry(), nil }
	}
	var cli commands
	out := &output{to: std.out}
	std.out = out
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name(invocation()),
		kong.Description("A durable ingester for Lumin Sign webhooks. Every setting is a flag or an environment variable."),
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std, jobTypes),
		durations(),
	)
	if err != nil {
		panic(err) // the structs are part of the program
	}
	unsetEmpty(parser)
	report := func(err error) int {
		return reportTo(std.err, err, func(text string) string {
			return withoutMisplaced(text, settingNames(parser.Model.Node), os.Getenv)
		})
	}
	parsed, err := parser.Parse(args)
	if lost := out.failure(); lost != nil {
		return report(lost)
	}
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		return report(advice.Usage(err.Error(), "run with --help to list the commands and flags"))
	}
	if err := checkEmptyLists(parsed); err != nil {
		return report(err)
	}
	if isServing(parsed.Command()) {
		std.out = out.to // a service may lose output and still succeed
		out, errs, flush := service.QueueOutput(std.out, std.err)
		defer flush()
		std.out, std.err, std.log = out, errs, errs
	}
	unknown := unknownSettings(parser, os.Environ())
	if parsed.Command() != "serve" { // which logs them
		warnUnknownSettings(std.err, unknown)
	}
	err = parsed.Run(std, unknown)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		err = interruption(err)
	}
	if lost := out.failure(); lost != nil && (err == nil || errors.Is(err, out.err)) {
		err = lost
	}
	return report(err)
}

// reportTo prints an error as two lines, what went wrong and what to do, and
// returns the exit code.
func reportTo(w io.Writer, err error, clean func(string) string) int {
	if err == nil {
		return 0
	}
	if refused := advice.RefusedOption(err); refused != nil {
		err = refused
	}
	problem, remedy := advice.Of(err)
	fmt.Fprintf(w, "%s: %s\n", programName(), clean(problem))
	if remedy != "" {
		fmt.Fprintf(w, "  %s\n", clean(remedy))
	}
	if errors.Is(err, advice.ErrUsage) {
		return 2
	}
	return 1
}
