package pgproxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

func TestCommitMeetsFault(t *testing.T) {
	t.Parallel()
	database := pgtest.NewEmpty(t)
	direct := pgtest.Pool(t, database)
	if _, err := direct.Exec(t.Context(), `CREATE SCHEMA s; CREATE TABLE s.t (name text)`); err != nil {
		t.Fatal(err)
	}
	commits := map[string]func(context.Context, *pgx.Conn) error{
		"simple query": func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, " Commit ;")
			return err
		},
		"with statements after it": func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "COMMIT; RESET ALL; SELECT 1")
			return err
		},
		"behind other messages": func(ctx context.Context, conn *pgx.Conn) error {
			batch := &pgx.Batch{}
			batch.Queue("SELECT 1")
			batch.Queue("INSERT INTO s.t SELECT name FROM s.t WHERE false")
			batch.Queue("COMMIT")
			return conn.SendBatch(ctx, batch).Close()
		},
		"behind another query": func(ctx context.Context, conn *pgx.Conn) error {
			pipeline := conn.PgConn().StartPipeline(ctx)
			pipeline.SendQueryParams("SELECT 1", nil, nil, nil, nil)
			pipeline.SendPipelineSync()
			pipeline.SendQueryParams("COMMIT", nil, nil, nil, nil)
			if err := pipeline.Sync(); err != nil {
				return err
			}
			return pipeline.Close()
		},
		"unnamed statement": func(ctx context.Context, conn *pgx.Conn) error {
			return conn.PgConn().ExecParams(ctx, "COMMIT", nil, nil, nil, nil).Read().Err
		},
		"prepared statement": func(ctx context.Context, conn *pgx.Conn) error {
			if _, err := conn.PgConn().Prepare(ctx, "c", "end work", nil); err != nil {
				return err
			}
			return conn.PgConn().ExecPrepared(ctx, "c", nil, nil, nil).Read().Err
		},
	}
	faults := []struct {
		name          string
		fault         pgproxy.Fault
		fails, effect bool
	}{
		{"pass", pgproxy.Pass, false, true},
		{"drop request", pgproxy.DropRequest, true, false},
		{"drop reply", pgproxy.DropReply, true, true},
		{"black hole", pgproxy.BlackHole, true, false},
	}
	for name, commit := range commits {
		for _, f := range faults {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				proxy, err := pgproxy.Start(database)
				if err != nil {
					t.Fatal(err)
				}
				defer proxy.Close()
				conn, err := pgx.Connect(ctx, proxy.URL())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(context.WithoutCancel(ctx))
				for _, sql := range []string{`BEGIN`, `INSERT INTO s.t VALUES ('` + t.Name() + `')`} {
					if _, err := conn.Exec(ctx, sql); err != nil {
						t.Fatal(err)
					}
				}
				proxy.AtCommit(f.fault, 1)
				waiting := ctx
				if f.fault == pgproxy.BlackHole {
					waiting, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
					defer cancel()
				}
				if err := commit(waiting, conn); (err != nil) != f.fails {
					t.Errorf("COMMIT: %v", err)
				}
				want := 0
				if f.fails {
					want = 1
				}
				if struck := proxy.Struck(); struck != want {
					t.Errorf("%d COMMITs struck, want %d", struck, want)
				}
				var there bool
				if err := direct.QueryRow(ctx, `SELECT EXISTS (SELECT FROM s.t WHERE name = $1)`, t.Name()).Scan(&there); err != nil {
					t.Fatal(err)
				}
				if there != f.effect {
					t.Errorf("committed: %t, want %t", there, f.effect)
				}
			})
		}
	}
}

// Close must close open connections, including those in a black hole.
func TestClose(t *testing.T) {
	t.Parallel()
	proxy, err := pgproxy.Start(pgtest.NewEmpty(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	proxy.AtCommit(pgproxy.BlackHole, 1)
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, `COMMIT`)
		answered <- err
	}()
	wait.Until(t, "the COMMIT is in the black hole", func() bool { return proxy.Struck() > 0 })
	proxy.Close()
	if err := <-answered; err == nil {
		t.Error("COMMIT succeeded in a black hole")
	}
}
