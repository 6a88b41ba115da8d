package app

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/worker"
)

// stopsItself is a job type whose second call interrupts the program.
type stopsItself struct {
	countEffects
	calls     *int
	interrupt context.CancelFunc
}

func (s stopsItself) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	if *s.calls++; *s.calls > 1 {
		s.interrupt()
		<-ctx.Done()
	}
	return s.countEffects.WorkTx(ctx, tx, e)
}

// Ctrl-C rolls back the trial that is running, and prints what was tried.
func TestReplayTryInterrupted(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	conn := connect(t, url)
	execute(t, conn, `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('count_effects', '{}', '{}', true, 'default')`)
	execute(t, conn, `
		INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), 'account', 'r' || n, 'signature_request_signed', now(), '{}', '', '', 'k', now() FROM generate_series(1, 3) n`)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var calls int
	var out, errs lines
	code := run(ctx, []string{"replay", "--database-url", url, "--try", "--yes", "--missing", "--kind", "count_effects"},
		streams{in: strings.NewReader(""), out: &out, err: &errs}, func(context.Context, Env) (*worker.Registry, error) {
			registry := worker.NewRegistry()
			registry.AddTx(stopsItself{calls: &calls, interrupt: interrupt})
			return registry, nil
		})
	if code != 1 || !strings.Contains(errs.String(), "interrupted\n  the results above") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	if got := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(got, "count_effects 3 1 1 0 2 ") {
		t.Errorf("printed %s", out.String())
	}
	wantNumber(t, conn, 0, `SELECT (SELECT count(*) FROM lumin.runs) + (SELECT count(*) FROM lumin_test.effects)`)
}
