package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/doctor"
	"lumin-ingest/store/operate"
)

type doctorCommand struct {
	databaseSettings
	sourceSettings
	outputSettings
	PublicURL string `env:"PUBLIC_URL" placeholder:"URL" help:"Address that Lumin delivers to, such as https://hooks.example.com. doctor also checks that it leads here."`
}

// verdict is the result of a check.
type verdict string

const (
	ok      verdict = "ok"
	warning verdict = "warning"
	failure verdict = "failure"
)

// finding is the outcome of one check, with a remedy for a problem.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Found   string  `json:"found"`
	Remedy  string  `json:"remedy,omitempty"`
}

func (c *doctorCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	secrets, err := c.secrets()
	if err != nil {
		return err
	}
	public, err := publicURL(c.PublicURL)
	if err != nil {
		return err
	}
	findings, err := examineDatabase(ctx, url)
	if err != nil {
		return err
	}
	if public != nil {
		findings = append(findings, examinePublic(ctx, public, secrets)...)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := findingListing().print(std.out, c.outputSettings, findings); err != nil {
		return err
	}
	failures := 0
	for _, f := range findings {
		if f.Verdict == failure {
			failures++
		}
	}
	switch failures {
	case 0:
		return nil
	case 1:
		return advice.Add(errors.New("1 check has failed"), "apply the remedy and run doctor again")
	}
	return advice.Add(fmt.Errorf("%d checks have failed", failures), "apply the remedies and run doctor again")
}

func findingListing() listing[finding] {
	return listing[finding]{
		headings: []string{"", "CHECK", "FOUND", "REMEDY"},
		cells:    func(f finding) []string { return []string{string(f.Verdict), f.Check, f.Found, f.Remedy} },
	}
}

// examineDatabase makes all checks that need the database. It stops after a
// failed check on which the remaining ones depend.
func examineDatabase(ctx context.Context, url string) ([]finding, error) {
	pool, err := pgopen.Pool(ctx, url, commandPool())
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	st, err := store.New(pool, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	server, err := doctor.ExamineServer(ctx, st.Pool())
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		_, remedy := advice.Of(err)
		return []finding{{"connection", failure, errtext.OneLine(err), cmp.Or(remedy, advice.Unreachable) + "; nothing else of it was checked"}}, nil
	}
	findings := []finding{{"connection", ok, fmt.Sprintf("database %s as role %s", server.Database, server.Role), ""}}
	findings = append(findings, examineSessions(ctx, st.Pool())...)
	findings = append(findings, examineServer(server)...)
	offset, within, err := st.ClockOffset(ctx)
	if err != nil {
		return nil, err
	}
	findings = append(findings, examineClock(offset, within), examineSchema(ctx, st))
	if findings[len(findings)-1].Verdict == failure {
		return findings, nil
	}
	queue, err := examineQueue(ctx, st)
	if advice.LacksRight(err) {
		return append(findings, finding{"queue", warning, "not checked: " + errtext.OneLine(err), advice.MissingRight}), nil
	}
	return append(findings, queue...), err
}

// examineServer checks the server and the durability of its commits.
func examineServer(s doctor.Server) []finding {
	version := finding{"version", ok, "PostgreSQL " + s.Version, ""}
	if s.VersionNumber < 140000 {
		version.Verdict, version.Remedy = failure, advice.OldServer
	}
	encoding := finding{"encoding", ok, s.Encoding, ""}
	if s.Encoding != "UTF8" {
		encoding.Verdict, encoding.Remedy = failure, "create a database with ENCODING 'UTF8' TEMPLATE template0; other encodings cannot store every event"
	}
	findings := []finding{version, encoding}
	for _, setting := range []struct{ name, value, loses string }{
		{"fsync", s.Fsync, "a crash of the machine can lose or damage everything"},
		{"full_page_writes", s.FullPageWrites, "a crash of the machine can damage pages beyond repair"},
	} {
		f := finding{setting.name, ok, setting.value, ""}
		if setting.value != "on" {
			f.Verdict, f.Remedy = failure, "turn it on in the server's configuration: "+setting.loses
		}
		findings = append(findings, f)
	}
	return append(findings, examineCommit(s))
}

// examineCommit checks the durability of a confirmed commit, and so of a 200.
// Without synchronous standbys, all values except off are equal.
func examineCommit(s doctor.Server) finding {
	f := finding{"synchronous_commit", ok, s.SynchronousCommit, ""}
	switch {
	case s.SynchronousCommit == "off":
		f.Verdict = failure
		f.Remedy = "a crash loses events that were acknowledged; it may be set for the role, the database or in DATABASE_URL: " +
			"try ALTER ROLE ... RESET synchronous_commit, or the same of the database"
	case s.StandbyNames == "":
		f.Found += "; no synchronous standby"
	case s.SynchronousCommit == "local":
		f.Verdict, f.Found = warning, "local, though there are synchronous standbys"
		f.Remedy = "a failover loses the last events that were acknowledged; set it to on to wait for the standbys"
	case s.SynchronousCommit == "remote_write":
		f.Found += ": standbys have it in memory, not yet on disk"
		f.Verdict, f.Remedy = warning, "if the machines crash together, a failover loses the last events that were acknowledged; set it to on to rule that out"
	default:
		f.Found += ", with synchronous standbys"
	}
	return f
}

// Limits for the difference between the two clocks. The age of an event is
// Lumin's time compared with the clock of the receiving machine. Jobs are not
// affected: they become due by the database's clock.
const (
	clockSuspect = time.Second
	clockWrong   = time.Minute
)

// examineClock checks the difference between two clocks, which was measured
// with an accuracy of within.
func examineClock(offset, within time.Duration) finding {
	f := finding{"clock", ok, fmt.Sprintf("the database's is %s ahead of this machine's, to within %s",
		offset.Round(time.Millisecond), max(within.Round(time.Millisecond), time.Millisecond)), ""}
	switch least := offset.Abs() - within; {
	case least > clockWrong:
		f.Verdict, f.Remedy = failure, "synchronize both machines by NTP: a wrong clock on this machine makes the program refuse deliveries as too old or too new"
	case least > clockSuspect:
		f.Verdict, f.Remedy = warning, "synchronize both machines by NTP"
	}
	return f
}

func examineSchema(ctx context.Context, st *store.Store) finding {
	status, err := st.SchemaStatus(ctx)
	if err == nil && !status.Current() {
		return finding{"schema", failure, status.String(), "the contents of the schema were not checked"}
	}
	works, tests := duties(ctx, st)
	if err == nil && !tests {
		return finding{"schema", ok, status.String() + "; no test recording, because this role records nothing", ""}
	}
	if err := st.ReadyToStart(ctx, works); err != nil {
		return finding{"schema", failure, errtext.OneLine(err), "fix the cause, or name another database; the contents of the schema were not checked"}
	}
	return finding{"schema", ok, status.String(), ""}
}

// duties reports whether the role of DATABASE_URL is one of a program that
// works, and whether it is one of a program at all. A role that is neither in
// lumin_worker nor in lumin_ingest, but has every right of lumin_admin or
// lumin_read, is for commands.
func duties(ctx context.Context, st *store.Store) (works, records bool) {
	for _, role := range []migrations.Role{migrations.Worker, migrations.Ingest, migrations.Admin, migrations.Read} {
		access, err := migrations.ReadAccess(ctx, st.Pool(), role)
		records = role == migrations.Worker || role == migrations.Ingest
		if err == nil && (len(access.Missing) == 0 || records && access.Member) {
			return role == migrations.Worker, records
		}
	}
	return true, true
}

// longPending is longer than ten attempts and the waits between them take.
const longPending = 4 * time.Hour

// examineQueue checks the waiting jobs and the programs that could work them.
func examineQueue(ctx context.Context, st *store.Store) ([]finding, error) {
	programs, err := catalog.Programs(ctx, st.Pool(), catalog.SeenWithin)
	if err != nil {
		return nil, err
	}
	kinds, err := catalog.Kinds(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	queue, err := doctor.ExamineQueue(ctx, st.Pool(), longPending)
	if err != nil {
		return nil, err
	}
	runs, err := examineRuns(ctx, st)
	if err != nil {
		return nil, err
	}
	lanes, err := examineLanes(ctx, st)
	if err != nil {
		return nil, err
	}
	followUps, err := doctor.ExamineFollowUps(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	undecided, err := conflict.CountUndecided(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	late, err := store.CountWaitingLate(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	unrecognized, err := window.New(st).UnrecognizedLately(ctx)
	if err != nil {
		return nil, err
	}
	holders, err := doctor.Holders(ctx, st.Pool(), longHolders)
	if err != nil {
		return nil, err
	}
	hidden, err := doctor.HiddenSessions(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	connections, err := catalog.ExamineConnections(ctx, st.Pool())
	if err != nil {
		return nil, err
	}
	return slices.Concat(examinePrograms(programs, kinds), []finding{examineConnections(connections)}, examineStuck(programs), examineComplaints(queue),
		runs, lanes, examineFollowUps(followUps, programs), []finding{examineConflicts(undecided), examineLate(late), examineUnrecognized(unrecognized)}, examineHolders(holders, hidden)), nil
}

// examinePrograms compares the running programs with all job types that were
// ever registered.
func examinePrograms(programs []catalog.Program, registered []string) []finding {
	if len(programs) == 0 {
		return []finding{{"programs", warning, "none is running", "start \"" + invocation() + " serve\"; until then Lumin's deliveries fail, and it repeats them for 30 h 20 min"}}
	}
	var receiving, working int
	var known []string // to programs that work
	for _, p := range programs {
		if p.Receives() {
			receiving++
		}
		if p.Works() {
			working++
			known = append(known, p.Kinds...)
		}
	}
	found := fmt.Sprintf("%d receive, %d work%s", receiving, working, versionsOf(programs))
	var findings []finding
	switch {
	case receiving == 0:
		findings = append(findings, finding{"programs", warning, found, "start one with the role ingest or all: no running program receives deliveries"})
	case working == 0:
		return []finding{{"programs", warning, found, "start one with the role worker or all: events are recorded, but no running program works them"}}
	default:
		findings = append(findings, finding{"programs", ok, found, ""})
	}
	if lost := difference(registered, known); len(lost) > 0 {
		findings = append(findings, finding{"job types", warning, "no running program works " + strings.Join(lost, ", "),
			"deploy a program that has it; if it was removed for good, DELETE FROM lumin.job_types WHERE kind = '...'"})
	}
	for _, p := range programs {
		if missing := difference(known, p.Kinds); p.Receives() && len(missing) > 0 {
			findings = append(findings, finding{"job types", warning,
				fmt.Sprintf("%s (process %d) receives deliveries and lacks %s", p.Host, p.PID, strings.Join(missing, ", ")),
				"deploy the same program everywhere: the other one creates no runs for this job type; then \"" + invocation() + " replay --missing --kind ...\" creates them"})
		}
	}
	if len(findings) == 1 {
		findings = append(findings, finding{"job types", ok, fmt.Sprintf("all %d are registered by all running programs", len(registered)), ""})
	}
	return findings
}

// examineConnections compares what the running programs may take with what the
// server gives.
func examineConnections(c catalog.Connections) finding {
	if c.Enough() {
		return finding{"connections", ok, c.String(), ""}
	}
	return finding{"connections", warning, c.String(), advice.FewConnections}
}

// difference returns the sorted elements of all that are not in some.
func difference(all, some []string) []string {
	rest := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
	slices.Sort(rest)
	return slices.Compact(rest)
}

func examineComplaints(c doctor.Queue) []finding {
	queue := []finding{}
	add := func(bad bool, found, remedy string) {
		if bad {
			queue = append(queue, finding{"queue", warning, found, remedy})
		}
	}
	add(len(c.UnregisteredKinds) > 0, "jobs of kinds that no program has registered: "+strings.Join(c.UnregisteredKinds, ", "),
		"they wait for a program that registers these kinds: was a job type renamed?")
	for _, name := range c.PausedQueues {
		when := "when the reason no longer applies"
		if work := operate.InternalWork(name); work != "" {
			when = "now: " + work + " run in it"
		}
		add(true, "paused: "+name, "run \""+invocation()+" queues resume "+name+"\" "+when)
	}
	add(c.OldRuns > 0, fmt.Sprintf("%d runs are pending for more than %s", c.OldRuns, approxDuration(longPending)),
		"see \"SELECT * FROM lumin.queue_health\" for the cause: too few workers, or a slow job type")
	add(len(c.OpenErasures) > 0, "erasures that are not finished: "+strings.Trim(fmt.Sprint(c.OpenErasures), "[]"),
		"check that a worker runs; erasures wait for jobs that are running on their events: \"SELECT * FROM lumin.river_job WHERE state = 'running'\"")
	add(len(c.IdleReplays) > 0, fmt.Sprintf("replays that no worker has started: %s", strings.Trim(fmt.Sprint(c.IdleReplays), "[]")),
		"check that a worker runs and that the queue lumin is not paused; \""+invocation()+" replays show\" shows more")
	if len(queue) == 0 {
		return []finding{{"queue", ok, "nothing is stuck", ""}}
	}
	return queue
}
