package workertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
)

// maxConns is enough for one job type, its follow-up jobs, River, and the test.
const maxConns = 16

// Database is a private, migrated database.
type Database struct {
	Pool *pgxpool.Pool // for the test, and for plain job types that need a pool
	URL  string        // of the same database and role

	running sync.Mutex // held by a run, because two Runtimes would take each other's jobs
}

// NewDatabase creates a database for the duration of a test. It then executes
// sql, such as statements that create the tables of the job type. The database
// belongs to an ordinary role, not to a superuser.
func NewDatabase(t testing.TB, sql ...string) *Database {
	t.Helper()
	db := &Database{URL: pgtest.New(t)}
	var err error
	db.Pool, err = pgopen.Pool(context.Background(), db.URL, pgopen.Options{
		MaxConns: maxConns, Writes: true, IdleInTransaction: time.Hour, // a debugger may halt a test
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Pool.Close)
	for _, statements := range sql {
		if _, err := db.Pool.Exec(t.Context(), statements); err != nil {
			t.Fatalf("SQL given to NewDatabase: %v\n%s", err, statements)
		}
	}
	return db
}
