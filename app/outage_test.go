package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
)

// startServer starts a server for one test, which may stop it.
func startServer(tb testing.TB) (*pgdev.Server, string) {
	tb.Helper()
	server, err := pgdev.Start(context.Background(), pgdev.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	if err := migrations.Up(context.Background(), server.URL()); err != nil {
		tb.Fatal(err)
	}
	prepareTestJobs(tb, server.URL())
	return server, server.URL()
}

// wantUnavailable checks the answer during an outage of the database: 503,
// soon.
func wantUnavailable(tb testing.TB, i *instance, b []byte) {
	tb.Helper()
	start := time.Now()
	r := mustPost(tb, i.accountURL(), b, lumin.Sign(b, sample.AccountKey))
	if r.code != 503 || r.Problem != "database_unavailable" ||
		r.header.Get("Content-Type") != "application/problem+json" || r.header.Get("Retry-After") == "" {
		tb.Errorf("answered %d %v %s", r.code, r.header, r.body)
	}
	if took := time.Since(start); took > 10*time.Second {
		tb.Errorf("answered after %s", took)
	}
}

func TestDatabaseStops(t *testing.T) {
	t.Parallel()
	server, url := startServer(t)
	i := startInstance(t, url)
	i.waitReady(t)
	sent := 0
	deliver := func() {
		t.Helper()
		b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
		eventually(t, 30*time.Second, "a delivery is answered 200", func() bool {
			return mustPost(t, i.accountURL(), b, lumin.Sign(b, sample.AccountKey)).code == 200
		})
		sent++
	}
	deliver()
	for _, mode := range []pgdev.ShutdownMode{pgdev.Fast, pgdev.Immediate, pgdev.Kill} {
		if err := server.Halt(mode); err != nil {
			t.Fatal(err)
		}
		refused := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
		wantUnavailable(t, i, refused)
		status, why := i.ready()
		if status != 503 || !strings.Contains(why, `"name":"database","ok":false,"error":"a test recording failed: begin: `) {
			t.Errorf("%s: /readyz answered %d %s", mode, status, why)
		}
		if status, metrics := get("http://" + i.AdminAddr() + "/metrics"); status != 200 || !strings.Contains(metrics, "lumin_database_up 0") {
			t.Errorf("%s: /metrics answered %d and does not say that the database is away", mode, status)
		}
		if status, _ := get("http://" + i.PublicAddr() + "/healthz"); status != 200 {
			t.Errorf("%s: /healthz answered %d, as if a restart could mend it", mode, status)
		}
		if err := server.Resume(context.Background()); err != nil {
			t.Fatal(err)
		}
		deliver()
		i.waitReady(t)
		db := connect(t, url)
		waitSettled(t, db)
		wantNumber(t, db, sent, `SELECT count(*) FROM lumin.events`) // nothing of the refused one
		wantNumber(t, db, sent, `SELECT count(*) FROM lumin_test.effects`)
		db.Close(context.Background())
	}
}

func TestDatabaseStoppedBeforeStart(t *testing.T) {
	t.Parallel()
	server, url := startServer(t)
	if err := server.Halt(pgdev.Fast); err != nil {
		t.Fatal(err)
	}
	i := startInstance(t, url)
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	wantUnavailable(t, i, b)
	status, why := i.ready()
	if status != 503 || !strings.Contains(why, "connection refused") || !strings.Contains(why, `"name":"workers","ok":false`) {
		t.Errorf("/readyz answered %d %s", status, why)
	}
	eventually(t, 10*time.Second, "the log says for what it waits", func() bool {
		reason, _ := i.log.logged("waiting for the database")["reason"].(string)
		return strings.Contains(reason, "connection refused")
	})
	if _, why := i.ready(); !strings.Contains(why, `"name":"workers","ok":false,"error":"not started: `) {
		t.Errorf("/readyz does not say what the workers wait for: %s", why)
	}
	if err := server.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	i.waitReady(t)
	if r := mustPost(t, i.accountURL(), b, lumin.Sign(b, sample.AccountKey)); r.code != 200 {
		t.Errorf("answered %d %s", r.code, r.body)
	}
	db := connect(t, url)
	waitSettled(t, db)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
}

// The program can be stopped while it waits.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	i := startInstance(t, "postgres://somebody:"+otherSecret+"@127.0.0.1:1/lumin")
	eventually(t, 10*time.Second, "it waits", func() bool { return i.log.logged("waiting for the database") != nil })
	start := time.Now()
	if err := i.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %s to stop", took)
	}
}

func TestSchemaMissing(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	i := startInstance(t, url)
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	wantUnavailable(t, i, b)
	status, why := i.ready()
	if status != 503 || !strings.Contains(why, `not migrated: run \"migrate up\"`) {
		t.Errorf("/readyz answered %d %s", status, why)
	}
	prepareTestJobs(t, url)
	if err := migrations.Up(context.Background(), url); err != nil { // somebody else does
		t.Fatal(err)
	}
	i.waitReady(t)
	if r := mustPost(t, i.accountURL(), b, lumin.Sign(b, sample.AccountKey)); r.code != 200 {
		t.Errorf("answered %d %s", r.code, r.body)
	}
	db := connect(t, url)
	waitSettled(t, db)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
}

// A connection that has died silently must not delay a start.
func TestConnectionGoesDeadWhileWaiting(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	proxy, err := pgproxy.Start(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	i := startInstance(t, proxy.URL())
	eventually(t, 10*time.Second, "it waits", func() bool { return i.log.logged("waiting for the database") != nil })
	proxy.Silence()
	prepareTestJobs(t, url)
	if err := migrations.Up(context.Background(), url); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "it has started", func() bool { return i.log.logged("started") != nil })
}
