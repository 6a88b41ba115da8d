// Package pgtest gives each test its own database on a real PostgreSQL.
//
//	url := pgtest.New(t) // migrated
//
// The first call starts a private server, which ends with the test program. To
// use another server, set TEST_DATABASE_URL to a superuser's URL. Databases are
// copies of a template that is migrated once. The database of a failed test is
// kept, and its URL is printed.
package pgtest

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx" for pgtestdb
	"github.com/peterldowns/pgtestdb"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/migrations"
)

// New returns the URL of a new, migrated database. An ordinary role owns it.
func New(tb testing.TB) string {
	tb.Helper()
	return database(tb, migrated{})
}

// NewEmpty returns the URL of a new, empty database.
func NewEmpty(tb testing.TB) string {
	tb.Helper()
	return database(tb, pgtestdb.NoopMigrator{})
}

// AdminURL returns the URL of the same database for the server's superuser.
func AdminURL(tb testing.TB, databaseURL string) string {
	tb.Helper()
	admin, err := url.Parse(server(tb))
	if err != nil {
		tb.Fatal(err)
	}
	database, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	admin.Path = database.Path
	return admin.String()
}

func database(tb testing.TB, migrator pgtestdb.Migrator) string {
	tb.Helper()
	admin, err := url.Parse(server(tb))
	if err != nil {
		tb.Fatal(err)
	}
	password, _ := admin.User.Password()
	instance := pgtestdb.Custom(tb, pgtestdb.Config{
		DriverName: "pgx",
		Host:       admin.Hostname(), Port: admin.Port(),
		User: admin.User.Username(), Password: password,
		Database: "postgres", Options: "sslmode=disable",
		ForceTerminateConnections: true,
	}, migrator)
	return instance.URL()
}

// server returns the URL of the server that all tests of this program share.
func server(tb testing.TB) string {
	tb.Helper()
	address, err := start()
	if err != nil {
		tb.Fatal(err)
	}
	return address
}

//nolint:gochecknoglobals // one server for the whole test program
var start = sync.OnceValues(func() (string, error) {
	if named := os.Getenv("TEST_DATABASE_URL"); named != "" {
		return named, nil
	}
	s, err := pgdev.Start(context.Background(), pgdev.Config{})
	if err != nil {
		return "", err
	}
	return s.URL(), nil // the server ends with this program
})

// migrated migrates the template database.
type migrated struct{}

// Hash implements pgtestdb.Migrator.
func (migrated) Hash() (string, error) { return migrations.Fingerprint(), nil }

// Migrate implements pgtestdb.Migrator.
func (migrated) Migrate(ctx context.Context, _ *sql.DB, template pgtestdb.Config) error {
	return migrations.Up(ctx, template.URL())
}
