package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgerrcode"

	"lumin-ingest/internal/redact"
	"lumin-ingest/migrations"
)

const (
	// probeTimeout is less than the 3 s within which /readyz must answer.
	probeTimeout = 2800 * time.Millisecond

	// successTTL is how long a success counts, unless a recording fails in the
	// meantime. failureTTL is how long a failure counts. It is shorter, so that
	// the program becomes ready soon after the database does.
	successTTL = 5 * time.Second
	failureTTL = time.Second
)

// Readiness reports whether this program can do its work now. All callers share
// one probe of the database. No probe is needed while deliveries are being
// recorded.
type Readiness struct {
	store    *Store
	recorder *Recorder // nil if this program only works jobs

	mu      sync.Mutex
	running chan struct{} // closed when the current probe ends; nil while none runs
	endedAt time.Time     // end of the last probe
	err     error         // result of the last probe
}

// NewReadiness returns the Readiness of a program that records with this
// Recorder.
func NewReadiness(r *Recorder) *Readiness { return &Readiness{store: r.store, recorder: r} }

// NewWorkReadiness returns the Readiness of a program that claims and settles
// runs.
func NewWorkReadiness(s *Store) *Readiness { return &Readiness{store: s} }

// Ready returns nil if a delivery could be recorded now, or a run claimed and
// settled. Otherwise the error gives the reason, and the remedy if it is known.
// Ready takes less than three seconds. It accepts another version of the
// schema, as long as the statements succeed.
func (r *Readiness) Ready(ctx context.Context) error {
	for {
		running, err, known := r.current()
		if known {
			return err
		}
		select {
		case <-running:
		case <-ctx.Done():
			return fmt.Errorf("wait for the probe of the database: %w", ctx.Err())
		}
	}
}

// latestTTL is how long Latest returns the result of a probe.
const latestTTL = time.Minute

// Latest returns the newest answer without waiting, or nil if none is known from the
// last minute. If the answer may be outdated, it starts a probe for the next call.
func (r *Readiness) Latest() error {
	if _, err, known := r.current(); known {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.endedAt) > latestTTL {
		return nil
	}
	return r.err
}

// current returns the known answer, or else the current probe to wait for.
func (r *Readiness) current() (running <-chan struct{}, err error, known bool) { //nolint:revive // err is the answer, not a failure of current
	var succeededAt, failedAt time.Time
	if r.recorder != nil {
		succeededAt, failedAt = r.recorder.outcomes()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if succeededAt.After(failedAt) && time.Since(succeededAt) < successTTL {
		return nil, nil, true
	}
	age := time.Since(r.endedAt)
	switch {
	case r.endedAt.IsZero():
	case r.err != nil && age < failureTTL:
		return nil, r.err, true
	case r.err == nil && age < successTTL && failedAt.Before(r.endedAt):
		return nil, nil, true
	}
	if r.running == nil {
		r.running = make(chan struct{})
		go r.probe(r.running)
	}
	return r.running, nil, false
}

// probe continues even if the caller that started it stops waiting.
func (r *Readiness) probe(done chan struct{}) {
	err := r.store.ready(context.Background(), r.recorder == nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.endedAt, r.running = err, time.Now(), nil
	close(done)
}

// ReadyToStart returns nil if the schema has this program's version and
// deliveries can be recorded. For a program that works, runs can also be
// claimed and settled. A running program uses its [Readiness] instead.
func (s *Store) ReadyToStart(ctx context.Context, works bool) error {
	status, err := s.SchemaStatus(ctx)
	switch {
	case hasCode(err, pgerrcode.InsufficientPrivilege):
		return s.missingRights(ctx, works, err)
	case err != nil:
		return err
	case !status.Current():
		return errors.New(status.String())
	}
	return s.ready(ctx, works)
}

// ready probes, and turns a failure into an error for operators.
func (s *Store) ready(ctx context.Context, works bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, errProbeTimeout)
	defer cancel()
	err := s.probe(ctx, works)
	switch {
	case err == nil:
		return nil
	case hasCode(err, pgerrcode.ReadOnlySQLTransaction):
		s.pool.Reset() // see Recorder.commit
		return errors.New("the database is read-only: a standby, or default_transaction_read_only is on for the role or the database")
	case hasCode(err, pgerrcode.InsufficientPrivilege):
		return s.missingRights(ctx, works, err)
	case hasCode(err, pgerrcode.UndefinedTable, pgerrcode.UndefinedColumn, pgerrcode.UndefinedFunction, pgerrcode.InvalidSchemaName):
		if status, statusErr := s.SchemaStatus(ctx); statusErr == nil && !status.Current() {
			return errors.New(status.String())
		}
	case hasCode(err, pgerrcode.LockNotAvailable):
		return errors.New("another session has locked one of the tables in the schema lumin: see pg_locks and pg_stat_activity")
	case hasCode(err, pgerrcode.DiskFull):
		return fmt.Errorf("the database's disk is full: %s", redact.Text(err.Error()))
	case errors.Is(context.Cause(ctx), errProbeTimeout):
		step, _, _ := strings.Cut(err.Error(), ": timeout: ")
		return fmt.Errorf("a test recording took longer than %s, at this step: %s", probeTimeout, redact.Text(step))
	}
	return fmt.Errorf("a test recording failed: %s", redact.Text(err.Error()))
}

// missingRights is the error that lists the missing rights as GRANT statements.
func (s *Store) missingRights(ctx context.Context, works bool, cause error) error {
	role := migrations.Ingest
	if works {
		role = migrations.Worker
	}
	access, err := migrations.ReadAccess(ctx, s.pool, role)
	if err != nil || len(access.Missing) == 0 {
		return fmt.Errorf("the role of DATABASE_URL lacks a right: %s", redact.Text(cause.Error()))
	}
	run := `"migrate roles"`
	if !access.Member {
		run += fmt.Sprintf(" and GRANT %s TO %s", role, access.User)
	}
	return fmt.Errorf("the role %s of DATABASE_URL lacks rights; the owner of the tables must run %s; or, to do without %s, run: %s",
		access.User, run, role, strings.Join(access.Missing, "; "))
}
