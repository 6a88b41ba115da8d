//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgproxy"
)

// Bounds on how long after the end of a fault acknowledged work may still be
// open.
const (
	usualBound  = 60 * time.Second
	killedBound = usualBound // after a working program was killed or frozen, or its machine has vanished
)

// Fault is one kind of failure.
type Fault struct {
	Name    string
	Standby bool // needs a standby
	Slow    bool // recovery may take killedBound; not for a quick run

	// choose draws all open decisions from rng. It always draws the same number
	// of values, so that later draws do not depend on the state of the run.
	choose func(r *runner, rng *rand.Rand) shot
}

// shot is a fault with all its random decisions.
type shot struct {
	what  string
	hits  []*program                      // which do not work during the fault; T17 does not use it
	do    func(ctx context.Context) error // returns when the fault has ended
	after func(ctx context.Context) error // cleans up; nil if there is nothing to do
}

// errMissed is the error of a fault that hit nothing, such as a COMMIT to break
// that was not sent. Such a fault does not count.
var errMissed = errors.New("the fault hit nothing")

// All returns all faults.
func All() []Fault {
	return []Fault{
		{Name: "program-kill", Slow: true, choose: programKill},
		{Name: "program-vanish", Slow: true, choose: programVanish},
		{Name: "program-terminate", choose: programTerminate},
		{Name: "program-pause", choose: programPause},
		{Name: "program-freeze", Slow: true, choose: programFreeze},
		{Name: "job-rescue", choose: jobRescue},
		{Name: "roles", choose: changeRoles},
		{Name: "server-kill", Slow: true, choose: serverHalt(pgdev.Kill)},
		{Name: "server-immediate", Slow: true, choose: serverHalt(pgdev.Immediate)},
		{Name: "server-restart", choose: serverHalt(pgdev.Fast)},
		{Name: "server-pause", choose: serverPause},
		{Name: "backend-kill", choose: backendKill},
		{Name: "backends-terminate", choose: backendsTerminate},
		{Name: "network-cut", choose: networkCut},
		{Name: "network-silence", choose: networkSilence},
		{Name: "network-delay", choose: networkDelay},
		{Name: "commit-request-lost", choose: commitFault(pgproxy.DropRequest, "request lost")},
		{Name: "commit-reply-lost", choose: commitFault(pgproxy.DropReply, "reply lost")},
		{Name: "commit-black-hole", choose: commitFault(pgproxy.BlackHole, "swallowed")},
		{Name: "read-only", choose: readOnly},
		{Name: "read-only-sessions", choose: readOnlySessions},
		{Name: "programs-to-standby", Standby: true, choose: programsToStandby},
		{Name: "standby-pause", Standby: true, choose: standbyPause},
		{Name: "failover", Standby: true, choose: failOver(false)},
		{Name: "failover-silent", Standby: true, choose: failOver(true)},
	}
}

// Named returns the faults with these names, in the order of the names.
func Named(names ...string) ([]Fault, error) {
	var chosen []Fault
	for _, name := range names {
		found := false
		for _, f := range All() {
			if f.Name == name {
				chosen, found = append(chosen, f), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no fault %q", name)
		}
	}
	return chosen, nil
}

// between returns a duration from low up to high.
func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return (low + time.Duration(rng.Int64N(int64(high-low)))).Round(10 * time.Millisecond)
}

func programKill(r *runner, rng *rand.Rand) shot {
	p, down := r.programs[rng.IntN(len(r.programs))], between(rng, 0, 3*time.Second)
	return shot{
		what: fmt.Sprintf("SIGKILL to program %s, started again after %s", p.name, down),
		do: func(ctx context.Context) error {
			if err := p.kill(ctx); err != nil {
				return err
			}
			pause(ctx, down)
			return p.start(p.role)
		},
	}
}

// programVanish simulates the loss of the machine that a program runs on. The
// server receives nothing more, not even the end of a connection. Messages are
// delayed beforehand, so that transactions are open at that moment.
func programVanish(r *runner, rng *rand.Rand) shot {
	n, down := rng.IntN(len(r.programs)), between(rng, 0, 3*time.Second)
	return shot{
		what: fmt.Sprintf("the machine of program %s vanishes; it is started on another after %s", r.programs[n].name, down),
		hits: r.programs[n : n+1],
		do: func(ctx context.Context) error {
			p, proxy := r.programs[n], r.servers.proxies[n]
			proxy.SetDelay(100 * time.Millisecond)
			pause(ctx, time.Second)
			proxy.Silence()
			proxy.SetDelay(0)
			if err := p.kill(ctx); err != nil {
				return err
			}
			pause(ctx, down)
			return p.start(p.role)
		},
	}
}

// stopBound is how long a program may take to stop.
const stopBound = time.Minute

func programTerminate(r *runner, rng *rand.Rand) shot {
	p := r.programs[rng.IntN(len(r.programs))]
	return shot{
		what: fmt.Sprintf("SIGTERM to program %s, started again when it has ended", p.name),
		do:   func(ctx context.Context) error { return r.restart(ctx, p, p.role) },
	}
}

// restart stops a program gracefully and starts it again.
func (r *runner) restart(ctx context.Context, p *program, role string) error {
	p.signal(syscall.SIGTERM)
	code, err := p.wait(ctx, stopBound)
	if err != nil {
		r.problem("%v", err)
		err = p.kill(ctx)
	} else if code != 0 {
		r.note("program %s ended with %d after SIGTERM", p.name, code)
	}
	return errors.Join(err, p.start(role))
}

func programPause(r *runner, rng *rand.Rand) shot {
	return stopped(r, rng, between(rng, time.Second, 10*time.Second))
}

// programFreeze stops a program for so long that others take up its jobs.
func programFreeze(r *runner, rng *rand.Rand) shot {
	return stopped(r, rng, between(rng, 46*time.Second, 52*time.Second))
}

func stopped(r *runner, rng *rand.Rand, length time.Duration) shot {
	p := r.programs[rng.IntN(len(r.programs))]
	return shot{
		what: fmt.Sprintf("SIGSTOP to program %s for %s", p.name, length),
		hits: []*program{p},
		do: func(ctx context.Context) error {
			goesOn := r.ledger.stopping(p.url())
			p.signal(syscall.SIGSTOP)
			pause(ctx, length)
			p.signal(syscall.SIGCONT)
			goesOn()
			return nil
		},
	}
}

func changeRoles(r *runner, _ *rand.Rand) shot {
	return shot{
		what: "rolling restart in other roles",
		do: func(ctx context.Context) error {
			r.rolesChanged = !r.rolesChanged
			var errs []error
			for n, p := range r.programs {
				errs = append(errs, r.restart(ctx, p, r.roles()[n]))
			}
			return errors.Join(errs...)
		},
	}
}

func serverHalt(mode pgdev.ShutdownMode) func(*runner, *rand.Rand) shot {
	return func(r *runner, rng *rand.Rand) shot {
		down := between(rng, 0, 3*time.Second)
		return shot{
			what: fmt.Sprintf("the server is stopped (%s), started again after %s", mode, down),
			do: func(ctx context.Context) error {
				server := r.servers.current()
				if err := server.Halt(mode); err != nil {
					return err
				}
				pause(ctx, down)
				return server.Resume(ctx)
			},
		}
	}
}

func serverPause(r *runner, rng *rand.Rand) shot {
	length := between(rng, time.Second, 12*time.Second)
	return shot{
		what: fmt.Sprintf("SIGSTOP to the server for %s", length),
		do:   func(ctx context.Context) error { return suspend(ctx, r.servers.current(), length) },
	}
}

func standbyPause(r *runner, rng *rand.Rand) shot {
	length := between(rng, time.Second, 12*time.Second)
	return shot{
		what: fmt.Sprintf("SIGSTOP to the synchronous standby for %s", length),
		do:   func(ctx context.Context) error { return suspend(ctx, r.servers.standby, length) },
	}
}

func suspend(ctx context.Context, server *pgdev.Server, length time.Duration) error {
	if err := server.Pause(ctx); err != nil {
		return err
	}
	defer server.Continue()
	pause(ctx, length)
	return nil
}

func backendKill(r *runner, rng *rand.Rand) shot {
	which := rng.Uint32()
	return shot{
		what: "SIGKILL to a backend of the server",
		do:   func(ctx context.Context) error { return r.killBackend(ctx, which) },
	}
}

// killBackend kills a backend of the programs with SIGKILL. which chooses it. It
// waits until there is one.
func (r *runner) killBackend(ctx context.Context, which uint32) error {
	var pids []int
	err := r.servers.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, _ := conn.Query(ctx, `SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY backend_start`, login)
		var err error
		if pids, err = pgx.CollectRows(rows, pgx.RowTo[int]); err == nil && len(pids) == 0 {
			err = errMissed
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.servers.current().KillBackend(ctx, pids[int(which)%len(pids)])
}

func backendsTerminate(r *runner, rng *rand.Rand) shot {
	times, share := 1+rng.IntN(10), []float64{0.1, 0.5, 1}[rng.IntN(3)]
	return shot{
		what: fmt.Sprintf("pg_terminate_backend for %.0f %% of the connections, %d times", 100*share, times),
		do: func(ctx context.Context) error {
			var ended int64
			for range times {
				err := r.servers.insist(ctx, func(ctx context.Context, conn *pgx.Conn) error {
					tag, err := conn.Exec(ctx, `
						SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND random() <= $2`, login, share)
					ended += tag.RowsAffected()
					return err
				})
				if err != nil {
					return err
				}
				pause(ctx, 200*time.Millisecond)
			}
			if ended == 0 {
				return errMissed
			}
			return nil
		},
	}
}
