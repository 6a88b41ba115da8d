package store_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// with adds a setting of the session, as a role or a database may have it.
func with(tb testing.TB, databaseURL, setting, value string) string {
	tb.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	query := u.Query()
	query.Set(setting, value)
	u.RawQuery = query.Encode()
	return u.String()
}

func TestPoolDependsOnNoDefaults(t *testing.T) {
	t.Parallel()
	address := with(t, pgtest.New(t), "default_transaction_isolation", "serializable")
	pool, err := store.OpenPool(t.Context(), with(t, address, "client_encoding", "LATIN1"), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	clean, err := store.NewCleanPool(t.Context(), pool, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clean.Close)
	exec(t, clean, `SELECT 1`) // the connection is cleaned afterwards
	for _, p := range []*pgxpool.Pool{pool, clean} {
		if level := value[string](t, p, `SHOW transaction_isolation`); level != "read committed" {
			t.Errorf("transactions are %s", level)
		}
		if encoding := value[string](t, p, `SHOW client_encoding`); encoding != "UTF8" {
			t.Errorf("texts are sent in %s", encoding)
		}
	}
}

func TestPoolOfNoURL(t *testing.T) {
	t.Parallel()
	_, err := store.OpenPool(t.Context(), "postgres://user:hunter2@host:port/x", 2)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
