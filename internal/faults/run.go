//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Config describes a run.
type Config struct {
	Program []string // path and arguments; its standard input ends when the run does
	Env     []string // further variables for it, besides those that connect it
	Folder  string   // for the ledger, the calls and the logs of the programs; must exist

	Seed   uint64
	Rate   int // new events per second
	Length time.Duration

	// Faults are drawn from at random for Length. With InOrder each is injected
	// once, in this order and one soon after the other, and Length does not
	// matter.
	Faults  []Fault
	InOrder bool
	Standby bool // start a synchronous standby

	setup // of a scenario; zero otherwise

	Log func(format string, args ...any) // logs the progress line by line; nil: no log
}

// CallsVariable is the environment variable with the file that the program
// passes to [NoteCall].
const CallsVariable = "FAULTS_CALLS"

func (c Config) callsFile() string  { return filepath.Join(c.Folder, "calls.jsonl") }
func (c Config) poisonFile() string { return filepath.Join(c.Folder, "poison") }

// Limits for the phases of a run besides its faults.
const (
	startBound  = time.Minute     // until both programs are ready
	drainBound  = 2 * time.Minute // until the clients have completed their deliveries
	settleBound = 3 * time.Minute // until replays have left nothing pending, parked or failed
	checkBound  = 5 * time.Minute
	giveUp      = 3 * time.Minute // the wait for a backlog that does not shrink
)

// runner is a run in progress.
type runner struct {
	cfg      Config
	started  time.Time
	servers  *servers
	programs []*program
	ledger   *Ledger
	clients  *clients
	replays  *replays
	looks    *looks

	bothWork     bool // the programs begin with the roles all and all, whatever the seed
	rolesChanged bool // the programs have the roles ingest and worker instead of all and all

	script func(context.Context) error // injects the faults of this run
	rows   []*Row

	mu       sync.Mutex
	problems []string
}

// Run starts servers, programs and clients, injects the faults, waits until
// everything is settled, and checks. An error means that the run itself went
// wrong. The result is returned even with an error.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	cfg.eases = true
	r := &runner{cfg: cfg}
	r.script = r.injectAll
	return r.whole(ctx)
}

// whole runs from the start of the servers to their end.
func (r *runner) whole(ctx context.Context) (*Result, error) {
	err := r.prepare(ctx)
	result := &Result{Seed: r.cfg.Seed, Faults: r.cfg.names()}
	if err == nil {
		err = r.run(ctx, result)
	}
	result.Problems = r.allProblems()
	for _, row := range r.rows {
		result.Rows = append(result.Rows, *row)
	}
	return result, errors.Join(err, r.close())
}

// prepare starts everything except the clients.
func (r *runner) prepare(ctx context.Context) (err error) {
	if r.ledger, err = NewLedger(filepath.Join(r.cfg.Folder, "ledger.jsonl")); err != nil {
		return err
	}
	if r.servers, err = startServers(ctx, r.cfg); err != nil {
		return err
	}
	env := append([]string{CallsVariable + "=" + r.cfg.callsFile(), fmt.Sprintf("%s=%d", SeedVariable, r.cfg.Seed)}, r.cfg.Env...)
	if r.cfg.poison {
		env = append(env, PoisonVariable+"="+r.cfg.poisonFile())
	}
	for n, proxy := range r.servers.proxies {
		p, err := newProgram(r.cfg, n, env, proxy)
		if err != nil {
			return err
		}
		r.programs = append(r.programs, p)
	}
	r.rolesChanged = r.cfg.programs == 0 && rand.New(rand.NewPCG(r.cfg.Seed, 0)).IntN(2) == 1 && !r.bothWork
	for n, p := range r.programs {
		if err := p.start(r.roles()[n]); err != nil {
			return err
		}
	}
	r.clients = newClients(r.ledger, r.cfg.Seed, r.cfg.Rate, r.urls)
	r.replays = newReplays(r.servers, r.clients, r.cfg.Seed)
	r.looks = newLooks(r.servers, r.clients, r.cfg.Seed)
	return r.awaitReady(ctx)
}

// roles returns the roles of the programs.
func (r *runner) roles() []string {
	if r.cfg.roles != nil {
		return r.cfg.roles
	}
	if r.rolesChanged {
		return []string{"ingest", "worker"}
	}
	return slices.Repeat([]string{"all"}, len(r.programs))
}

// urls returns the addresses that receive deliveries at the moment.
func (r *runner) urls() []string {
	var urls []string
	for _, p := range r.programs {
		if url := p.url(); url != "" {
			urls = append(urls, url)
		}
	}
	return urls
}

func (r *runner) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	for _, p := range r.programs {
		for {
			err := p.ready(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("program %s was not ready within %s: %w; see its log in %s", p.name, startBound, err, r.cfg.Folder)
			}
			pause(ctx, 50*time.Millisecond)
		}
	}
	return nil
}

// run injects the faults under load. When everything is settled, it checks the
// invariants.
func (r *runner) run(ctx context.Context, result *Result) error {
	r.started = time.Now()
	loading, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	draining, stopDrain := context.WithCancel(ctx)
	defer stopDrain()
	var load sync.WaitGroup
	load.Go(func() { r.clients.run(draining, loading) })
	if !r.cfg.noReplays {
		load.Go(func() { r.replays.run(loading) })
	}
	load.Go(func() { r.looks.run(loading) })
	if r.cfg.eases {
		load.Go(func() { r.ease(loading) })
	}

	err := r.script(ctx)
	stopLoad()
	late := time.AfterFunc(drainBound, func() {
		r.problem("some deliveries were not answered 200 within %s after the last fault", drainBound)
		stopDrain()
	})
	load.Wait()
	late.Stop()
	result.Counts, result.Replays = r.ledger.Counts(), r.replays.orders()
	result.Lasted = time.Since(r.started).Round(time.Second)
	if err != nil {
		return err
	}
	if r.cfg.loses {
		return nil
	}
	if r.cfg.noReplays { // one, which the falsification needs
		if err := r.replays.orderFailed(ctx); err != nil {
			return err
		}
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	return r.check(ctx, result)
}

// easedAbove is the number of pending runs, in seconds of the clients' rate, above
// which no new events are sent. A program works five runs of each event.
const easedAbove = 5 * 10

// ease stops new events while the programs have too much work, until half of it
// is done. Faults and repeated deliveries continue. A machine that is busy with
// other things would otherwise end a run with a backlog that says nothing about
// the program.
func (r *runner) ease(ctx context.Context) {
	limit := easedAbove * r.cfg.Rate
	for ctx.Err() == nil {
		began, pending := time.Now(), 0
		err := r.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			return conn.QueryRow(ctx, `SELECT count(*) FROM lumin.runs WHERE state = 'pending'`).Scan(&pending)
		})
		if eased := r.clients.eased.Load(); err == nil && eased != (pending > limit) && (!eased || pending < limit/2) {
			r.clients.eased.Store(!eased)
			r.note("%d runs are pending; new events are sent: %t", pending, eased)
		}
		pause(ctx, max(time.Second, 4*time.Since(began)))
	}
}

// settle replays failed runs until no run is pending, parked or failed. It leaves
// parked runs to the program.
func (r *runner) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	explained, start := false, time.Now()
	for ctx.Err() == nil {
		pending, parked, failed, open, err := r.unsettled(ctx)
		switch {
		case err != nil:
		case pending+parked+failed+open == 0:
			r.note("settled after %s", time.Since(start).Round(time.Second))
			return nil
		case failed > 0 && (open == 0 || parked > 0 && pending == 0): // a replay does not end in a held lane
			_ = r.replays.orderFailed(ctx) // the next count shows whether the order was accepted
		}
		if !explained && time.Since(start) > explainAfter {
			explained = true
			r.logOpenWork(ctx, "settling lasts")
		}
		pause(ctx, 100*time.Millisecond)
	}
	r.problem("not everything was settled within %s after the last delivery", settleBound)
	r.describeBacklog(context.WithoutCancel(ctx))
	return nil
}

// unsettled counts runs that are pending, parked or failed, and replays that are
// open.
func (r *runner) unsettled(ctx context.Context) (pending, parked, failed, open int, err error) {
	err = r.servers.query(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `
			SELECT (SELECT count(*) FROM lumin.runs WHERE state = 'pending'),
			       (SELECT count(*) FROM lumin.runs WHERE state = 'parked'),
			       (SELECT count(*) FROM lumin.runs WHERE state IN ('failed', 'cancelled')),
			       (SELECT count(*) FROM lumin.replays WHERE finished_at IS NULL)`).Scan(&pending, &parked, &failed, &open)
	})
	return pending, parked, failed, open, err
}

// check compares the ledger with the database. Then it tests the checks with
// damages.
func (r *runner) check(ctx context.Context, result *Result) error {
	return r.servers.queryWithin(ctx, checkBound, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if err := r.load(ctx, conn); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, `ANALYZE`); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, totalsSQL, []string{FailText, RetryText}, []string{PanicKind, NULKind, HangKind}).Scan(
			&result.Events, &result.Effects, &result.Lost, &result.Doubled, &result.FailedByDesign, &result.FailedOtherwise); err != nil {
			return fmt.Errorf("count: %w", err)
		}
		r.note("%d deliveries are loaded beside the database", result.Counts.Deliveries)
		if result.Violations, err = Check(ctx, conn); err != nil {
			return err
		}
		all, err := r.histories(ctx, conn)
		if err != nil {
			return err
		}
		if err := checkHistories(ctx, all, result); err != nil || len(result.Violations) > 0 {
			return err
		}
		r.note("all invariants hold, and the histories of %d events, of %d operations, are explained", result.Histories.Events, result.Histories.Operations)
		result.Damages, err = Falsify(ctx, conn)
		ways, historyErr := all.falsify()
		result.Histories.Falsified = ways
		r.note("%d falsifications of the database and %d of a history were tried", result.Damages, ways)
		return errors.Join(err, historyErr)
	})
}

// totalsSQL counts events, effects, lost events, doubled effects, and final
// failures of runs. Replays do not change the failures. Those with one of the
// errors in $1, or of one of the job types in $2, are by design.
const totalsSQL = `
SELECT (SELECT count(*) FROM lumin.events),
       (SELECT count(*) FROM faults.effects),
       (SELECT count(*) FROM faults.ledger l WHERE l.acks > 0 AND NOT EXISTS (
           SELECT FROM lumin.events e WHERE e.event_key = l.event_key AND e.source = l.source)),
       (SELECT count(*) FROM (
           SELECT FROM faults.effects GROUP BY event_key, job_kind, rerun HAVING count(*) > 1) twice),
       count(*) FILTER (WHERE f.by_design), count(*) FILTER (WHERE NOT f.by_design)
FROM (SELECT job_kind = ANY ($2) OR coalesce(errors[cardinality(errors)] ->> 'error' = ANY ($1), false) AS by_design
      FROM lumin.failures) f`

// close ends everything that the run has started.
func (r *runner) close() error {
	var errs []error
	for _, p := range r.programs {
		errs = append(errs, p.close())
	}
	if r.servers != nil {
		errs = append(errs, r.servers.close())
	}
	if r.ledger != nil {
		errs = append(errs, r.ledger.Close())
	}
	return errors.Join(errs...)
}

// problem records an event that must not happen.
func (r *runner) problem(format string, args ...any) {
	text := time.Since(r.started).Round(time.Second).String() + ": " + fmt.Sprintf(format, args...)
	r.cfg.Log("PROBLEM at %s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, text)
}

// note logs a fact that is not a problem.
func (r *runner) note(format string, args ...any) {
	r.cfg.Log("%s: %s", time.Since(r.started).Round(time.Second), fmt.Sprintf(format, args...))
}

func (r *runner) allProblems() []string {
	r.mu.Lock()
	problems := append([]string(nil), r.problems...)
	r.mu.Unlock()
	if r.ledger != nil && !r.cfg.loses { // a lost event that is sent again gets another id
		problems = append(problems, r.ledger.Unexpected()...)
	}
	for _, p := range r.programs {
		problems = append(problems, p.deaths()...)
	}
	return problems
}

func (c Config) names() string {
	names := make([]string, 0, len(c.Faults))
	for _, f := range c.Faults {
		names = append(names, f.Name)
	}
	return strings.Join(names, ",")
}
