package app

import (
	"os"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
)

// A command has the timeouts that the page lists, whatever the role has.
func TestCommandTimeouts(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	pgtest.Exec(t, pgtest.Pool(t, pgtest.AdminURL(t, url)), `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET statement_timeout = 0', current_database());
		EXECUTE format('ALTER DATABASE %I SET lock_timeout = 0', current_database());
	END $$`)
	st, closeStore, err := databaseSettings{DatabaseURL: url}.openStore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore()
	var got []string
	for _, setting := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		got = append(got, pgtest.Value[string](t, st.Pool(), `SELECT replace(replace(current_setting($1), 'min', ' min'), 's', ' s')`, setting))
	}
	page, err := os.ReadFile("../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	if row := "| a command | " + strings.Join(got, " | ") + " |"; !strings.Contains(string(page), row) {
		t.Errorf("no row %s", row)
	}
}
