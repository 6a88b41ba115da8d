//go:build unix

package faults

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"lumin-ingest/internal/pgproxy"
)

// Scenario is one row of the fault plan: a run with chosen faults and sizes.
type Scenario struct {
	ID   string // such as T1
	Name string
	Size string // at the full scale

	setup setup
	// first200 and lastEffect bound the recovery after a fault. The latter counts
	// from the last fault of a burst. 0 means usualBound.
	first200, lastEffect time.Duration
	working              time.Duration // the same for readiness, and for the first effect of each program that was hit

	inject func(context.Context, *scene) error
}

// setup describes the servers and programs of a scenario.
type setup struct {
	programs   int                                                     // 0 means 2 in random roles
	standby    bool                                                    // start a standby
	loses      bool                                                    // acknowledged events may be lost: the standby is asynchronous, and the invariants are not checked
	noReplays  bool                                                    // no replays are ordered before the end
	eases      bool                                                    // no new events are sent while more work is pending than the programs can catch up with
	poison     bool                                                    // the program has the misbehaving job types
	rate       int                                                     // new events per second
	settings   map[string]string                                       // of the server
	env        []string                                                // of the programs
	logFolder  string                                                  // folder for the write-ahead log; empty for the usual one
	tablespace string                                                  // folder for the database; empty for the server's own
	commands   [][]string                                              // of the programs, if they differ
	migrate    func(context.Context, string) error                     // instead of migrating to the newest version
	roles      []string                                                // of the programs; nil means all
	prepare    func(context.Context, *Config, Options) (func(), error) // changes the run beforehand; returns what undoes it
}

// Options are the choices of the caller for a scenario.
type Options struct {
	Program []string // as in [Config]
	Env     []string
	Folder  string // for the logs; must exist
	Seed    uint64
	Scale   float64  // of the sizes; 1 is the full size
	Rate    int      // deliveries per second; 0 means the row's own
	Before  []string // the program of an older version, for T16; nil if there is none
	Log     func(format string, args ...any)
}

// Scenarios returns the rows of the fault plan that are runs of the program.
func Scenarios() []Scenario {
	return []Scenario{
		killScenario(), crashScenario(), commitScenario(), terminateScenario(), pauseScenario(), exhaustScenario(),
		fullDiskScenario(), fullLogScenario(), failoverScenario(), asynchronousScenario(), workerScenario(), poisonScenario(),
		openScenario(), upgradeScenario(), mixedScenario(), vanishScenario(), othersScenario(),
	}
}

// Run runs the scenario. An error means that the run itself went wrong. The
// outcome is returned even with an error.
func (c Scenario) Run(ctx context.Context, o Options) (*Outcome, error) {
	cfg := Config{Program: o.Program, Env: append(o.Env, c.setup.env...), Folder: o.Folder, Seed: o.Seed, Log: o.Log, setup: c.setup}
	cfg.Rate, cfg.Standby, cfg.Faults = cmp.Or(o.Rate, c.setup.rate), c.setup.standby, All()
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	out := &Outcome{ID: c.ID, Name: c.Name, Size: c.Size, Seed: o.Seed, Scale: o.Scale}
	if c.setup.prepare != nil {
		undo, err := c.setup.prepare(ctx, &cfg, o)
		if err != nil {
			out.Problems = []string{err.Error()}
			return out, fmt.Errorf("prepare %s: %w", c.ID, err)
		}
		defer undo()
	}
	r := &runner{cfg: cfg}
	s := &scene{runner: r, scenario: c, options: o, scale: o.Scale, rng: rand.New(rand.NewPCG(o.Seed, 1<<34)), out: out}
	r.script = func(ctx context.Context) error { return c.inject(ctx, s) }
	result, err := r.whole(ctx)
	s.finish(result)
	return out, err
}

// scene is a scenario in progress.
type scene struct {
	*runner
	scenario Scenario
	options  Options
	scale    float64
	rng      *rand.Rand
	out      *Outcome

	more   int               // faults beyond one per row
	lost   int               // acknowledged deliveries that a scenario which may lose some has counted
	taken  int               // jobs of stopped workers that others have fetched meanwhile
	locked map[identity]bool // events that another session has locked
	from   time.Time         // when a fault begins to count
	to     time.Time         // when it ceases to count; zero for its end

	repeats  sync.WaitGroup // deliveries that are sent again: see repeat
	repeated atomic.Int32   // those of them that were answered 200
}

// count returns a size at the scale of the run, but not less than a minimum.
func (s *scene) count(full, least int) int { return max(least, int(float64(full)*s.scale+0.5)) }

// span returns a length at the scale of the run, but not less than a minimum.
func (s *scene) span(full, least time.Duration) time.Duration {
	return max(least, time.Duration(float64(full)*s.scale).Round(time.Second))
}

// hit injects one fault.
func (s *scene) hit(ctx context.Context, name string, do func(context.Context) error) error {
	row := &Row{Fault: name, At: time.Since(s.started), FirstAck: never, LastEffect: unmeasured, Ready: unmeasured, hitAck: unmeasured, hitEffect: unmeasured}
	s.rows = append(s.rows, row)
	if err := do(ctx); err != nil {
		return fmt.Errorf("inject %s: %w", name, err)
	}
	row.ended = time.Now()
	row.Lasted = row.ended.Sub(s.started.Add(row.At))
	return ctx.Err()
}

// hitBy injects a fault of package faults with random decisions.
func (s *scene) hitBy(ctx context.Context, name string, choose func(*runner, *rand.Rand) shot) error {
	return s.hitWith(ctx, name, choose(s.runner, s.rng))
}

func (s *scene) hitWith(ctx context.Context, name string, one shot) error {
	s.note("%s: %s", name, one.what)
	err := s.hit(ctx, name, one.do)
	s.rows[len(s.rows)-1].hits = one.hits
	if err != nil || one.after == nil {
		return err
	}
	return one.after(ctx)
}

// acked waits for the first 200 after the last fault.
func (s *scene) acked(ctx context.Context) error {
	return s.await(ctx, "a delivery is answered 200", giveUp, func() bool {
		_, found := s.ledger.firstAck(s.rows[len(s.rows)-1].ended)
		return found
	})
}

// recover waits until the work from before the end of the last fault is done,
// until each program is ready, and until each that was hit works again. The times
// count for that fault.
func (s *scene) recover(ctx context.Context) error {
	last := s.rows[len(s.rows)-1]
	err := s.await(ctx, "the work from before the last fault is done, and the programs work again", giveUp, func() bool { return s.recovered(ctx, last) })
	s.servers.each((*pgproxy.Proxy).CutSilent)
	s.note("%d faults, recovered in %s", len(s.rows), short(last.LastEffect))
	if err != nil {
		s.describeBacklog(ctx)
	}
	return err
}

// recovered measures what has come true since the end of a fault. It reports
// whether nothing is left to wait for.
func (s *scene) recovered(ctx context.Context, row *Row) bool {
	if row.LastEffect == unmeasured && s.ledger.unanswered(row.ended) == 0 && s.backlog(ctx, row.ended) == 0 {
		row.LastEffect = time.Since(row.ended)
	}
	if row.Ready == unmeasured && s.allReady(ctx) {
		row.Ready = time.Since(row.ended)
	}
	if row.LastEffect == unmeasured || row.Ready == unmeasured {
		return false
	}
	return s.hitWork(ctx, row)
}

// acknowledged waits until so many deliveries have been answered 200.
func (s *scene) acknowledged(ctx context.Context, n int) error {
	return s.await(ctx, fmt.Sprintf("%d deliveries are acknowledged", n), time.Hour, func() bool { return s.ledger.Counts().Acknowledged >= n })
}

// await waits for a condition. It is a problem and an error if it does not
// become true within a time.
func (s *scene) await(ctx context.Context, what string, within time.Duration, holds func() bool) error {
	for start := time.Now(); !holds(); pause(ctx, 50*time.Millisecond) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Since(start) > within {
			s.problem("within %s it did not happen that %s", within, what)
			return fmt.Errorf("waited %s until %s", within, what)
		}
	}
	return nil
}

// poisoned creates or removes the file that makes job types misbehave.
func (s *scene) poisoned(on bool) error {
	if !on {
		return os.Remove(s.cfg.poisonFile())
	}
	return os.WriteFile(s.cfg.poisonFile(), nil, 0o600)
}
