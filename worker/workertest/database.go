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

// maxConns are enough for one job type at work, its follow-up jobs, River, and
// the test beside them.
const maxConns = 16

// Database is a private, migrated database.
type Database struct {
	Pool *pgxpool.Pool // for the test, and for plain job types that want one
	URL  string

	running sync.Mutex // one run at a time: two would work each other's jobs
}

// NewDatabase makes a database for the length of a test, and runs SQL in it, such
// as that which makes the job type's own tables. Its owner is an ordinary role.
func NewDatabase(t testing.TB, sql ...string) *Database {
	t.Helper()
	db := &Database{URL: pgtest.New(t)}
	var err error
	db.Pool, err = pgopen.Pool(context.Background(), db.URL, pgopen.Options{
		MaxConns: maxConns, Writes: true, IdleInTransaction: time.Hour, // a test may be stopped in a debugger
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
