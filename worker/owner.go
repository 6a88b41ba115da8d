package worker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
)

const (
	// lookEvery is the pause between two looks for lost owners. A look that takes
	// long is followed by a longer pause: while vacuum is held back, looks pass many
	// index entries of ended jobs. The pause is limited, because the next look is
	// also what notices the loss of the session.
	lookEvery    = time.Second
	looksShare   = 50
	longestPause = 1500 * time.Millisecond

	// lookTimeout is how long a statement of a look may take before the server
	// cancels it. The session keeps the lock then. A session that has not answered
	// after silentAfter is given up.
	lookTimeout = 9 * time.Second
	silentAfter = lookTimeout + time.Second

	// lostAfter is how long the lock of an owner must be free before its jobs are
	// given back. A program whose session was ended takes its lock again within
	// that time, if the server lets it connect: it notices within longestPause,
	// closes the old session and pauses, each within lockPause, and connects within
	// lockTimeout.
	lostAfter = 5 * time.Second

	// lostAfterOutage is how long a program gives nothing back after it had to get
	// another session itself: if the server was restarted, all programs had to.
	lostAfterOutage = 15 * time.Second

	// ownerSilence is how long the session of an owner may send nothing before the
	// server ends it. It bounds the time until a vanished machine counts as lost,
	// even if a proxy answers keepalives in its place.
	ownerSilence = 30 * time.Second

	lockTimeout = 3 * time.Second // to get another session

	// lockPause is the pause before the next attempt to take the lock. It doubles
	// while no session can be had.
	lockPause    = 200 * time.Millisecond
	longestRetry = 5 * time.Second
)

// owner is this program as the owner of the jobs that it fetches. A session of its
// own holds a lock, which is free soon after the program was killed. The owner
// also gives back the jobs of other owners whose lock is free, and those that it
// fetched itself without getting the answer. These jobs run again within seconds,
// and the attempt does not count. Without locks they would wait for River's
// rescue.
//
// No guarantee depends on the lock. If the jobs of a program that lives are given
// back, each transactional run still takes effect once.
type owner struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	name   string // of the lock, and of the owner of jobs that are fetched while it is held
	jobs   *heldJobs
	given  *prometheus.CounterVec // jobs given back, by kind

	locked atomic.Bool

	// Only the goroutine of the lock uses the fields below.
	conn    *pgx.Conn // nil: no session
	failing bool      // the lock was lost, or could not be taken
	patient time.Time // until then, other programs are given time to take their locks
	lost    map[string]sighting

	cancel context.CancelFunc // nil: stopped
	ended  chan struct{}
}

// sighting is the first of successive looks that found the lock of an owner free:
// the database's time, and that of this machine afterwards.
type sighting struct{ database, local time.Time }

func newOwner(s *store.Store, logger *slog.Logger) *owner {
	return &owner{
		pool: s.Pool(), logger: logger, jobs: newHeldJobs(), lost: map[string]sighting{},
		given: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_jobs_given_back_total",
			Help: "Jobs of killed programs, and jobs whose fetch was not answered, that this program made available again, by kind.",
		}, []string{"kind"}),
	}
}

// nameFor returns the owner of jobs that are fetched now. client is River's name
// for this program.
func (o *owner) nameFor(client string) string {
	if o.locked.Load() {
		return o.name
	}
	return client
}

// start tries to take the lock, and keeps it until stop. If that fails, start
// returns nevertheless, and the attempts go on.
func (o *owner) start(ctx context.Context, client string) {
	o.name = client + store.OwnerMark
	first, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	err := o.step(first)
	looking, stop := context.WithCancel(context.WithoutCancel(ctx))
	o.cancel, o.ended = stop, make(chan struct{})
	go o.run(looking, err)
}

// stop releases the lock. The program must not work jobs any more.
func (o *owner) stop() {
	if o.cancel == nil {
		return
	}
	o.cancel()
	<-o.ended
	o.cancel = nil
}

// run looks for lost owners until ctx ends. err is the result of the first look.
func (o *owner) run(ctx context.Context, err error) {
	defer close(o.ended)
	defer o.close()
	attempt := 0 // since the lock was lost
	for took := time.Duration(0); ; {
		wait := o.pause(took)
		switch {
		case err == nil:
			attempt = 0
		case ctx.Err() != nil:
			return
		case isCancelled(err):
			o.logger.Warn("a look for jobs of killed programs was cancelled, because it took too long: such jobs may wait for River's rescue",
				"reason", errtext.Plain(redact.Text(err.Error())))
		case errors.Is(err, pgopen.ErrPooler):
			o.logger.Warn("this program holds no lock, because a connection pooler is in front of the server: if it is killed, its running jobs wait for River's rescue",
				"advice", "connect to PostgreSQL directly")
			return
		default:
			o.drop(err)
			wait = min(lockPause<<min(attempt, 10), longestRetry)
			attempt++
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		err = o.step(ctx)
		took = time.Since(began)
	}
}

// pause returns the time until the next look, or the next attempt to take the
// lock. A look is no later than the moment when the next owner has been lost for
// long enough.
func (o *owner) pause(took time.Duration) time.Duration {
	if !o.locked.Load() {
		return lockPause
	}
	wait := min(max(lookEvery, looksShare*took), longestPause)
	for _, first := range o.lost {
		if left := lostAfter - time.Since(first.local); left > 0 {
			wait = min(wait, left)
		}
	}
	return wait
}

// step gets a session if there is none, and the lock. With the lock, it looks for
// lost owners.
func (o *owner) step(ctx context.Context) error {
	if o.conn == nil {
		connecting, cancel := context.WithTimeout(ctx, lockTimeout)
		defer cancel()
		conn, err := pgopen.OwnSession(connecting, o.pool, lookTimeout, ownerSilence)
		if err != nil {
			return err
		}
		o.conn = conn
		if o.failing {
			o.patient = time.Now().Add(lostAfterOutage)
		}
	}
	if err := o.lock(ctx); err != nil || !o.locked.Load() {
		return err
	}
	return o.look(ctx)
}

// lock checks the session, and tries to take the lock if the session has not got
// it. After a planned failover, the session may be with the old server, which is
// read-only. After an outage, the server may still have the session from before,
// which is ended, or another program is trying this lock.
func (o *owner) lock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, silentAfter)
	defer cancel()
	if err := pgopen.RefuseReadOnly(ctx, o.conn.PgConn()); err != nil || o.locked.Load() {
		return err
	}
	locked, err := store.LockOwner(ctx, o.conn, o.name)
	if err == nil && !locked && o.failing {
		if err := store.EndOwner(ctx, o.conn, o.name); !isForbidden(err) { // else the server ends it later
			return err
		}
	}
	if err != nil || !locked {
		return err
	}
	o.locked.Store(true)
	if o.failing {
		o.failing = false
		o.logger.Info("this program holds its lock again")
	}
	return nil
}

// isCancelled reports whether the server cancelled a statement. The session still
// works.
func isCancelled(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == pgerrcode.QueryCanceled
}

// isForbidden reports whether the role lacks the right to do something.
func isForbidden(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == pgerrcode.InsufficientPrivilege
}

// drop closes the session after an error.
func (o *owner) drop(err error) {
	if !o.failing {
		o.logger.Warn("this program does not hold its lock: if it is killed now, its running jobs may wait for River's rescue",
			"reason", errtext.Plain(redact.Text(err.Error())))
	}
	o.failing = true
	clear(o.lost)
	o.close()
}

// close closes the session, which releases the lock.
func (o *owner) close() {
	o.locked.Store(false)
	if o.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockPause)
	defer cancel()
	_ = o.conn.Close(ctx) // the session is given up
	o.conn = nil
}

// look finds lost owners, and gives back the jobs of those that have been lost
// for long enough.
func (o *owner) look(ctx context.Context) error {
	held, _ := o.jobs.list(time.Time{})
	looking, cancel := context.WithTimeout(ctx, silentAfter)
	defer cancel()
	found, err := store.LostOwners(looking, o.conn, o.name, held)
	if err != nil {
		return err
	}
	now := time.Now()
	maps.DeleteFunc(o.lost, func(name string, _ sighting) bool { return found[name].IsZero() })
	for name, database := range found {
		first, known := o.lost[name]
		if known && !o.due(name, first) {
			continue
		}
		if known {
			if err := o.giveBack(ctx, name, first.database); err != nil {
				return err
			}
		}
		o.lost[name] = sighting{database, now}
	}
	return nil
}

// due reports whether an owner has been lost for long enough. This program itself
// is lost in respect of jobs that it does not know. It may have to wait for a
// fetch whose answer is late.
func (o *owner) due(name string, first sighting) bool {
	if time.Since(first.local) < lostAfter {
		return false
	}
	if store.SameOwner(name, o.name) {
		_, complete := o.jobs.list(first.local)
		return complete
	}
	return time.Now().After(o.patient)
}

// giveBack gives back the jobs that an owner fetched before a time of the
// database.
func (o *owner) giveBack(ctx context.Context, name string, before time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, silentAfter)
	defer cancel()
	held, _ := o.jobs.list(time.Time{})
	kinds, err := store.GiveBack(ctx, o.conn, name, before, held)
	if err != nil {
		return err
	}
	for kind, n := range kinds {
		o.given.WithLabelValues(kind).Add(float64(n))
	}
	switch {
	case len(kinds) == 0:
	case store.SameOwner(name, o.name):
		o.logger.Info("gave back jobs whose fetch was not answered", "jobs", counts(kinds))
	default:
		o.logger.Warn("gave back the jobs of a program that is gone", "program", name, "jobs", counts(kinds))
	}
	return nil
}
