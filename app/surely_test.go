package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	apiclient "lumin-ingest/admin/api/client"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/operate"
)

// An order in doubt is placed again, until the database answers or refuses it.
func TestSurely(t *testing.T) {
	t.Parallel()
	doubt := fmt.Errorf("%w: %w", operate.ErrInDoubt, io.EOF)
	down := fmt.Errorf("%w: no connection", operate.ErrNothingChanged)
	for name, test := range map[string]struct {
		w     operatorWindow
		ends  []error
		calls int
		want  error
		took  time.Duration
	}{
		"stored":        {(*window.Window)(nil), []error{nil}, 1, nil, 0},
		"refused":       {(*window.Window)(nil), []error{down}, 1, operate.ErrNothingChanged, 0},
		"restarted":     {(*window.Window)(nil), []error{doubt, down, doubt, nil}, 4, nil, 3 * time.Second},
		"no outcome":    {(*window.Window)(nil), []error{doubt, operate.ErrNoOutcome}, 2, operate.ErrNoOutcome, time.Second},
		"lasting error": {(*window.Window)(nil), []error{doubt, &pgconn.PgError{Code: "42501"}}, 2, operate.ErrInDoubt, time.Second},
		"lost":          {(*window.Window)(nil), []error{doubt, down}, 31, operate.ErrInDoubt, 30 * time.Second},
		"server":        {(*apiclient.Client)(nil), []error{doubt}, 1, operate.ErrInDoubt, 0}, // the client has done it
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls, start := 0, time.Now()
				_, err := surely(t.Context(), test.w, func() (int64, error) {
					calls++
					return 7, test.ends[min(calls, len(test.ends))-1]
				})
				if took := time.Since(start); !errors.Is(err, test.want) || calls != test.calls || took != test.took {
					t.Errorf("%d calls in %s: %v", calls, took, err)
				}
			})
		})
	}
}

// Ctrl-C ends the wait at once.
func TestSurelyInterrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		start := time.Now()
		_, err := surely(ctx, (*window.Window)(nil), func() (int64, error) {
			interrupt()
			return 0, operate.ErrInDoubt
		})
		if !errors.Is(err, operate.ErrInDoubt) || time.Since(start) != 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// strike runs a command with a fault at the first statement with this text, and returns
// its exit code and output. The fault calls interrupt, if that is set.
func strike(t *testing.T, proxy *pgproxy.Proxy, fault pgproxy.Fault, at string, interrupt bool, args ...string) (code int, out, errs string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := pgproxy.Strike{At: func(m pgproxy.Moment) bool { return strings.Contains(m.SQL, at) }, Fault: fault, Times: 1}
	if interrupt {
		s.Do = cancel
	}
	proxy.At(s)
	var said, complained lines
	code = run(ctx, append(args, "--database-url", proxy.URL()), streams{in: strings.NewReader(""), out: &said, err: &complained}, nil)
	if proxy.Struck() == 0 {
		t.Errorf("%s was not executed: %s", at, complained.String())
	}
	return code, said.String(), complained.String()
}

// damaged is a database behind a proxy, with an event and its failed run.
func damaged(t *testing.T) *pgproxy.Proxy {
	t.Helper()
	url := newDatabase(t)
	conn := connect(t, url)
	execute(t, conn, `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book', '{}', '{}', true, 'default')`)
	execute(t, conn, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		VALUES (gen_random_uuid(), 'account', 'r1', 'signature_request_signed', now(), '{}', '', '', 'k', now())`)
	execute(t, conn, `INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at) SELECT event_key, 'book', id, 'failed', now() FROM lumin.events`)
	return pgtest.Proxy(t, url)
}

// A replay whose answer was lost is ordered again, with its mark, and the command goes on.
func TestReplayIsOrderedOnce(t *testing.T) {
	t.Parallel()
	proxy := damaged(t)
	code, out, errs := strike(t, proxy, pgproxy.DropReply, "INSERT INTO lumin.replays", false, "replay", "--failed")
	if code != 0 || !strings.Contains(out, " ordered; a running worker carries it out") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	wantNumber(t, connect(t, proxy.URL()), 1, `SELECT count(*) FROM lumin.replays`)
	wantNumber(t, connect(t, proxy.URL()), 1, `SELECT count(order_token) FROM lumin.replays`)
}

// A command that ends before the database has answered says where to look before it is
// repeated, and a command whose change goes on says so.
func TestInterruptedChanges(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault     pgproxy.Fault
		at        string
		interrupt bool
		args      []string
		want      string
	}{
		"replay":             {pgproxy.BlackHole, "INSERT INTO lumin.replays", true, []string{"replay", "--failed"}, "interrupted; it is not known whether this was carried out\n  before you repeat it: \"replays list\" shows"},
		"replay, no outcome": {pgproxy.DropRequest, "UPDATE lumin.audit_log", false, []string{"replay", "--failed"}, "replay was carried out, but the audit log lacks the outcome in row 1"},
		"dismissal":          {pgproxy.BlackHole, "lumin.dismiss_failure", true, []string{"failures", "dismiss", "--all", "--reason", "x", "--yes"}, "interrupted; it is not known whether this was carried out\n  run the command again for the rest"},
		"dismissal, cut":     {pgproxy.DropReply, "lumin.dismiss_failure", false, []string{"failures", "dismiss", "--all", "--reason", "x", "--yes"}, "run the command again for the rest"},
		"plan":               {pgproxy.BlackHole, "lumin.runs", true, []string{"replay", "--failed"}, "interrupted\n"},
		"ordered erasure":    {pgproxy.BlackHole, "FROM lumin.erasures WHERE id", true, []string{"erase", "--signature-request", "r1", "--reason", "x"}, "interrupted; erasure 1 is ordered\n  a running worker continues it: SELECT"},
		"erasure":            {pgproxy.BlackHole, "INSERT INTO lumin.erasures", true, []string{"erase", "--signature-request", "r1", "--reason", "x"}, "interrupted; it is not known whether this was carried out\n  before you repeat it: the newest row of lumin.erasures"},
		"queue":              {pgproxy.BlackHole, "UPDATE lumin.river_queue", true, []string{"queues", "pause", "default"}, "interrupted; it is not known whether this was carried out\n  before you repeat it: \"queues\""},
		"cancellation":       {pgproxy.DropReply, "UPDATE lumin.replays", false, []string{"replays", "cancel", "1"}, "before you repeat it: \"replays show 1\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := damaged(t)
			if test.args[0] == "replays" {
				execute(t, connect(t, proxy.URL()), `INSERT INTO lumin.replays (status, reason, ordered_by) VALUES ('failed', '', 'ann')`)
			}
			code, out, errs := strike(t, proxy, test.fault, test.at, test.interrupt, test.args...)
			if code != 1 || !strings.Contains(errs, test.want) {
				t.Errorf("exit code %d: %s%s\nwant %s", code, out, errs, test.want)
			}
		})
	}
}
