package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/migrations"
)

// UseRoles creates the roles of package migrations and gives them their rights
// in this database. Roles belong to the whole server, so they stay.
func UseRoles(tb testing.TB, databaseURL string) {
	tb.Helper()
	if _, err := migrations.GrantRoles(context.Background(), AdminURL(tb, databaseURL)); err != nil {
		tb.Fatal(err)
	}
}

// Login creates a login that has only the rights of these roles, and returns
// the URL of the same database for it. The password is "canary_password".
func Login(tb testing.TB, databaseURL string, roles ...migrations.Role) string {
	tb.Helper()
	const password = "canary_password"
	admin := AdminURL(tb, databaseURL)
	name := "login_" + strings.ToLower(rand.Text())
	execute := func(sql string) error {
		conn, err := pgx.Connect(context.Background(), admin)
		if err != nil {
			return err
		}
		defer conn.Close(context.Background())
		_, err = conn.Exec(context.Background(), sql)
		return err
	}
	create := "CREATE ROLE " + name + " LOGIN PASSWORD '" + password + "'"
	for _, role := range roles {
		create += "; GRANT " + string(role) + " TO " + name
	}
	if err := execute(create); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := execute("DROP OWNED BY " + name + "; DROP ROLE " + name); err != nil {
			tb.Error(err)
		}
	})
	u, err := url.Parse(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	u.User = url.UserPassword(name, password)
	return u.String()
}
