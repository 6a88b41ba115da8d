package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/requeststate"
)

// trySettings are the flags of replay that only --try uses.
type trySettings struct {
	Try   bool `help:"Order no replay. Call the transactional job types of this program in transactions that are rolled back, and show what would fail. Exits 1 if anything would."`
	Limit *int `placeholder:"100" help:"With --try: try at most this many runs of each job type, those of the oldest events."`
	Yes   bool `help:"With --try: start. Without this flag only the plan is printed."`
	luminSettings
	logSettings
}

// defaultTries is the default of --limit: enough to find the common errors, and
// done within seconds.
const defaultTries = 100

// checkTry refuses flags of an order with --try, and flags of --try without it.
func (c *replayCommand) checkTry() error {
	switch {
	case !c.Try && (c.Limit != nil || c.Yes):
		return advice.Usage("--limit and --yes belong to --try", "leave them out, or add --try")
	case !c.Try:
		return nil
	case c.DryRun || c.Wait || c.Rate != nil || c.Reason != "" || c.By != "":
		return advice.Usage("--try orders no replay", "leave out --dry-run, --wait, --rate, --reason and --by")
	case c.Unrecognized:
		return advice.Usage("--try needs runs, and unrecognized events have none", "replay --unrecognized makes their runs")
	case c.Limit != nil:
		return checkLimit(*c.Limit)
	}
	return nil
}

// outsideNote says what a trial does not undo.
const outsideNote = "each run is tried in a transaction that is rolled back; what its code does outside of that is not undone:\n" +
	"HTTP calls, mail, other connections, numbers taken from sequences"

// addTrial makes the change one that tries runs. It asks before the first trial,
// because the code may act outside its transaction.
func (c *replayCommand) addTrial(to *change, std streams, apply func() error) {
	show := to.show
	to.show = func() error {
		if err := show(); err != nil || to.empty || c.json() {
			return err
		}
		_, err := fmt.Fprintln(std.out, outsideNote)
		return err
	}
	if !c.Yes {
		to.refuse = advice.Usage("nothing was tried: --try needs --yes", "add --yes if the code of these job types may run now")
	}
	to.apply = apply
}

// tryRuns tries the runs of each job type of a plan, and prints the results.
func (c *replayCommand) tryRuns(ctx context.Context, std streams, filter replay.Filter, plan window.Plan, jobTypes JobTypes) error {
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	trials, end, err := c.openTrials(ctx, std, st, jobTypes)
	if err != nil {
		return err
	}
	defer end()
	plain, err := catalog.PlainKinds(ctx, st.Pool())
	if err != nil {
		return err
	}
	t := tries{trials: trials, replays: replay.New(st), filter: filter, limit: defaultTries, show: tryBar(std.err)}
	if c.Limit != nil {
		t.limit = *c.Limit
	}
	var results []tried
	for _, p := range plan.JobTypes {
		result := tried{Kind: *p.Kind, Runs: p.Runs, Exact: plan.Exact}
		if why := t.untried(*p.Kind, plain); why != "" {
			result.Untried = &why
		} else {
			err = t.try(ctx, &result)
		}
		if results = append(results, result); err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		err = advice.Add(errors.New("interrupted"), "the results above are those of the runs that were tried")
	}
	if err == nil {
		err = trialError(results)
	}
	return errors.Join(err, printTried(std.out, c.json(), results))
}

// openTrials makes the job types of the program, and opens trials of them.
func (c *replayCommand) openTrials(ctx context.Context, std streams, st *store.Store, jobTypes JobTypes) (*worker.Trials, func(), error) {
	url, err := c.writableURL()
	if err != nil {
		return nil, nil, err
	}
	env := Env{Logger: slog.New(c.handler(std.err))}
	if env.Lumin, env.LuminAPIKey, err = c.client(); err != nil {
		return nil, nil, err
	}
	if env.DB, err = openJobsDB(ctx, url, 1, nil); err != nil {
		return nil, nil, err
	}
	trials, err := newTrials(ctx, st, env, jobTypes)
	if err != nil {
		env.DB.Close()
		return nil, nil, err
	}
	return trials, func() { trials.Close(); env.DB.Close() }, nil
}

func newTrials(ctx context.Context, st *store.Store, env Env, jobTypes JobTypes) (*worker.Trials, error) {
	registry, err := makeRegistry(ctx, jobTypes, env)
	if err != nil {
		return nil, err
	}
	// signature_request_state is the only transactional job type that is built in.
	if state := (requeststate.JobType{}); !slices.Contains(registry.Kinds(), state.Kind()) {
		registry.AddBatch(state)
	}
	runtime, err := worker.New(worker.Config{Store: st, Registry: registry, Logger: env.Logger})
	if err != nil {
		return nil, err
	}
	return runtime.Trials(ctx)
}

// tries tries runs of the job types of one plan.
type tries struct {
	trials  *worker.Trials
	replays *replay.Store
	filter  replay.Filter
	limit   int // of each job type
	show    func(kind string, done, of int)
}

// untried returns why a job type cannot be tried, or "" if it can. plain are the
// kinds of plain job types.
func (t tries) untried(kind string, plain []string) string {
	transactional, registered := t.trials.Transactional(kind)
	switch {
	case transactional:
		return ""
	case registered, slices.Contains(plain, kind):
		return "plain: its effects are outside the database"
	}
	return "this program has no such job type: use the one that has it"
}

// try tries the runs of one job type. The runs that were tried before an error count.
func (t tries) try(ctx context.Context, result *tried) error {
	chosen, err := t.replays.Matching(ctx, t.filter, result.Kind, t.limit)
	if err != nil {
		return err
	}
	for i, run := range chosen {
		var trial worker.Trial
		if trial, err = t.trials.Try(ctx, run); err != nil {
			err = adviseTrial(err)
			break
		}
		result.add(run, trial)
		t.show(result.Kind, i+1, len(chosen))
	}
	texts := make([]string, len(result.Problems))
	for i, p := range result.Problems {
		texts[i] = p.Error
	}
	fingerprints, nameErr := t.replays.Fingerprints(context.WithoutCancel(ctx), texts)
	if nameErr == nil {
		result.group(fingerprints)
	}
	return cmp.Or(err, nameErr)
}

// adviseTrial adds advice to the error of a trial that did not begin.
func adviseTrial(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege {
		return advice.Add(err, "a temporary table makes sure that nothing is committed: GRANT TEMPORARY ON DATABASE to the role of this program")
	}
	return err
}

// trialError returns an error if a replay would not succeed, or if nothing was tried.
func trialError(results []tried) error {
	var all, bad int
	remedy := "the errors are above; fix the cause before you order the replay"
	for _, r := range results {
		all += r.Tried
		bad += r.Tried - r.Succeeded
		if slices.ContainsFunc(r.Problems, func(p problem) bool { return strings.Contains(p.Error, "SQLSTATE "+pgerrcode.InsufficientPrivilege) }) {
			remedy = "the role of this command lacks a right: lumin_admin has those in the schema lumin, and tables of your job types need a GRANT of their own"
		}
	}
	switch {
	case all == 0:
		return advice.Add(errors.New("no run was tried"), "the reasons are above")
	case bad > 0:
		return advice.Add(fmt.Errorf("%s of %d tried would not succeed", runs(int64(bad)), all), "%s", remedy)
	}
	return nil
}
