//go:build unix

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"lumin-ingest/internal/pgproxy"
)

// some returns one program or all programs, and their proxies.
func (r *runner) some(rng *rand.Rand) (name string, programs []*program, proxies []*pgproxy.Proxy) {
	n := rng.IntN(len(r.programs) + 1)
	if n == len(r.programs) {
		return "all programs", r.programs, r.servers.proxies
	}
	return "program " + r.programs[n].name, r.programs[n : n+1], r.servers.proxies[n : n+1]
}

func networkCut(r *runner, rng *rand.Rand) shot {
	name, _, proxies := r.some(rng)
	times := 1 + rng.IntN(10)
	return shot{
		what: fmt.Sprintf("connections of %s to the server cut %d times", name, times),
		do: func(ctx context.Context) error {
			for range times {
				for _, proxy := range proxies {
					proxy.Cut()
				}
				pause(ctx, 150*time.Millisecond)
			}
			return nil
		},
	}
}

// networkSilence silences the connections permanently. The program has to
// notice that and close them.
func networkSilence(r *runner, rng *rand.Rand) shot {
	name, programs, proxies := r.some(rng)
	return shot{
		what: fmt.Sprintf("connections of %s to the server go silent; new ones work", name),
		hits: programs,
		do: func(context.Context) error {
			for _, proxy := range proxies {
				proxy.Silence()
			}
			return nil
		},
	}
}

func networkDelay(r *runner, rng *rand.Rand) shot {
	name, _, proxies := r.some(rng)
	delay, length := between(rng, 20*time.Millisecond, 300*time.Millisecond), between(rng, 2*time.Second, 8*time.Second)
	return shot{
		what: fmt.Sprintf("messages of %s to and from the server %s late for %s", name, delay, length),
		do: func(ctx context.Context) error {
			for _, proxy := range proxies {
				proxy.SetDelay(delay)
			}
			pause(ctx, length)
			for _, proxy := range proxies {
				proxy.SetDelay(0)
			}
			return nil
		},
	}
}

// strikeTimeout bounds the wait for COMMITs to break.
const strikeTimeout = 5 * time.Second

func commitFault(fault pgproxy.Fault, what string) func(*runner, *rand.Rand) shot {
	return func(r *runner, rng *rand.Rand) shot {
		name, _, proxies := r.some(rng)
		times := 1 + rng.IntN(8)
		return shot{
			what: fmt.Sprintf("%d COMMITs of %s: %s", times, name, what),
			do: func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, strikeTimeout)
				defer cancel()
				total := 0
				for _, proxy := range proxies {
					struck := proxy.Struck()
					proxy.At(pgproxy.Strike{Fault: fault, Times: times, When: func(pid uint32) bool { return r.wrote(ctx, pid) }})
					for ctx.Err() == nil && proxy.Struck() < struck+times {
						pause(ctx, 20*time.Millisecond)
					}
					proxy.AtCommit(pgproxy.Pass, 0)
					total += proxy.Struck() - struck
				}
				r.note("%d COMMITs were hit", total)
				if total == 0 {
					return errMissed
				}
				return nil
			},
		}
	}
}

func readOnly(r *runner, rng *rand.Rand) shot {
	length := between(rng, time.Second, 8*time.Second)
	return shot{
		what: fmt.Sprintf("the server is read-only for %s", length),
		do: func(ctx context.Context) error {
			if err := r.servers.set(ctx, "SET default_transaction_read_only = on"); err != nil {
				return err
			}
			pause(ctx, length)
			return r.servers.set(ctx, "RESET default_transaction_read_only")
		},
	}
}

// readOnlySessions makes new sessions read-only and ends the old ones. Sessions
// that begin during the fault stay read-only until they end.
func readOnlySessions(r *runner, rng *rand.Rand) shot {
	length := between(rng, time.Second, 12*time.Second)
	return shot{
		what: fmt.Sprintf("sessions that begin within %s are read-only until they end", length),
		do: func(ctx context.Context) error {
			err := r.servers.exec(ctx, "ALTER ROLE "+login+" SET default_transaction_read_only = on",
				"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '"+login+"'")
			if err != nil {
				return err
			}
			pause(ctx, length)
			return r.servers.exec(ctx, "ALTER ROLE "+login+" RESET default_transaction_read_only")
		},
	}
}

// programsToStandby directs the programs to the standby, as if the server's
// address was switched too early. Their connections to the standby stay open
// afterwards.
func programsToStandby(r *runner, rng *rand.Rand) shot {
	length := between(rng, time.Second, 8*time.Second)
	return shot{
		what: fmt.Sprintf("the programs connect to the standby for %s", length),
		do: func(ctx context.Context) error {
			if err := r.servers.direct(r.servers.standby); err != nil {
				return err
			}
			r.servers.each((*pgproxy.Proxy).Cut)
			pause(ctx, length)
			return r.servers.direct(r.servers.current())
		},
	}
}

func failOver(silent bool) func(*runner, *rand.Rand) shot {
	what := "the primary is killed, its standby promoted"
	if silent {
		what = "the primary vanishes silently, its standby is promoted"
	}
	return func(r *runner, _ *rand.Rand) shot {
		return shot{
			what:  what,
			do:    func(ctx context.Context) error { return r.servers.failOver(ctx, silent) },
			after: r.servers.rebuild,
		}
	}
}
