package pgopen_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

// A session may use another role than the one that connected, for example if a
// group owns the tables. A slow statement is not aborted because of it.
func TestSlowWithAnotherRole(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	if _, err := pgtest.Pool(t, pgtest.AdminURL(t, address)).Exec(t.Context(), `DO $$ BEGIN
		CREATE ROLE pgopen_group;
		EXECUTE format('GRANT pgopen_group TO %I', (SELECT datdba::regrole FROM pg_database WHERE datname = current_database()));
	END $$`); err != nil {
		t.Fatal(err)
	}
	pool := open(t, with(t, address, "options=-c%20role%3Dpgopen_group"), pgopen.Options{NoticeSilence: true})
	if role := show(t, pool, "role"); role != "pgopen_group" {
		t.Errorf("the role is %s", role)
	}
	if _, err := pool.Exec(t.Context(), `SELECT pg_sleep(3)`); err != nil {
		t.Errorf("a slow statement was aborted: %v", err)
	}
}

// pgx may still be reading in the background from a connection whose last answer
// is complete. Such a session is idle, not silent.
func TestBackgroundReadOfIdleSession(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	pool := open(t, address, pgopen.Options{NoticeSilence: true})
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Fatal(err)
	}
	pid, socket := int32(conn.Conn().PgConn().PID()), conn.Conn().PgConn().Conn()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = socket.Read(make([]byte, 1))
	}()
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	gone := func() bool {
		return !pgtest.Value[bool](t, admin, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
	}
	if wait.For(6*time.Second, gone) { // three times as long as a silence
		t.Error("the session was ended")
	}
	_ = socket.Close()
	<-ended
}

// The server has a part of a pipeline and waits for the rest, which is lost. The
// client notices, and the session holds no locks then.
func TestRestOfPipelineIsLost(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	pgtest.Exec(t, admin, `CREATE TABLE public.notes (id integer PRIMARY KEY); GRANT ALL ON public.notes TO public`)
	proxy := pgtest.Proxy(t, address)
	pool := open(t, proxy.URL(), pgopen.Options{NoticeSilence: true})
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	proxy.At(pgproxy.Strike{Fault: pgproxy.BlackHole, Times: 1})
	var pipeline pgx.Batch
	for _, sql := range []string{`BEGIN`, `INSERT INTO public.notes VALUES (1)`, `COMMIT`} {
		pipeline.Queue(sql)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := conn.SendBatch(ctx, &pipeline).Close(); err == nil || ctx.Err() != nil || proxy.Struck() != 1 {
		t.Fatalf("%d statements were lost, the client says: %v", proxy.Struck(), err)
	}
	pgtest.Exec(t, admin, `SET statement_timeout = '5 s'; INSERT INTO public.notes VALUES (1)`)
}

// A pooler that accepts every startup parameter assigns its own process ids,
// which the server does not know.
func TestSlowBehindUnknownPooler(t *testing.T) {
	t.Parallel()
	p := pgtest.Proxy(t, pgtest.NewEmpty(t))
	p.ActAsPooler()
	pool := open(t, p.URL(), pgopen.Options{NoticeSilence: true})
	if _, err := pool.Exec(t.Context(), `SELECT pg_sleep(3)`); err != nil {
		t.Errorf("a slow statement was aborted: %v", err)
	}
}
