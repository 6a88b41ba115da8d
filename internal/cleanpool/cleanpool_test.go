package cleanpool_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
)

// with adds a setting of the session, as if a role or a database had it.
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
	pool, err := pgopen.Pool(t.Context(), with(t, address, "client_encoding", "LATIN1"), pgopen.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	clean, err := cleanpool.New(t.Context(), pool, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clean.Close)
	if _, err := clean.Exec(t.Context(), `SELECT 1`); err != nil { // the connection is cleaned afterwards
		t.Fatal(err)
	}
	for _, p := range []*pgxpool.Pool{pool, clean} {
		for setting, want := range map[string]string{"transaction_isolation": "read committed", "client_encoding": "UTF8"} {
			var got string
			if err := p.QueryRow(t.Context(), `SHOW `+setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v, want %q", setting, got, err, want)
			}
		}
	}
}
