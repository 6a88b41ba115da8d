package migrations_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

var update = flag.Bool("update", false, "write testdata/rights.txt")

// A role may do exactly what testdata/rights.txt says. The test tries every
// statement on every table, view, column, sequence and function as each role.
// PUBLIC loses EXECUTE first, so the functions of rights.sql are enough.
//
// The file shows what a change of rights.sql, or a new table, gives to whom.
// After checking that, write it with go test ./migrations -run RightsTried -update.
func TestRightsTried(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.UseRoles(t, url)
	admin := pgtest.Conn(t, pgtest.AdminURL(t, url))
	pgtest.Exec(t, admin, `REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA lumin FROM PUBLIC`)
	objects := schemaObjects(t, admin)
	var got strings.Builder
	const noRole = "a login without a role"
	for _, role := range append(migrations.Roles(), noRole) {
		var of []migrations.Role
		if role != noRole {
			of = append(of, role)
		}
		conn := pgtest.Conn(t, pgtest.Login(t, url, of...))
		for _, o := range objects {
			rights := o.rights(t, conn)
			if rights == "" && role != noRole && strings.Contains("r v S", o.kind) {
				rights = "no right"
			}
			if rights != "" {
				fmt.Fprintf(&got, "%s: %s: %s\n", role, o.name, rights)
			}
		}
		wantRefused(t, conn, objects)
	}
	if *update {
		if err := os.WriteFile("testdata/rights.txt", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/rights.txt")
	if err != nil {
		t.Fatal(err)
	}
	wanted, found := strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")
	for _, line := range found {
		if !slices.Contains(wanted, line) {
			t.Errorf("allowed: %s", line)
		}
	}
	for _, line := range wanted {
		if !slices.Contains(found, line) {
			t.Errorf("not allowed any more: %s", line)
		}
	}
	if strings.Contains(got.String(), noRole) {
		t.Error("PUBLIC has rights")
	}
}

// schemaObject is a table, a view, a sequence or a function.
type schemaObject struct {
	name    string
	kind    string   // r: table, v: view, S: sequence, f: function, t: trigger function
	columns []string // of a table or a view, or the types of a function's parameters
}

func schemaObjects(t *testing.T, db pgtest.Database) []schemaObject {
	t.Helper()
	rows, err := db.Query(t.Context(), `
		SELECT c.relname::text, c.relkind::text,
		       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
		FROM pg_class c WHERE c.relnamespace = 'lumin'::regnamespace AND c.relkind NOT IN ('i', 'c')
		UNION ALL
		SELECT p.proname, CASE WHEN p.prorettype = 'trigger'::regtype THEN 't' ELSE 'f' END,
		       ARRAY(SELECT format_type(a.type, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (type, n) ORDER BY a.n)
		FROM pg_proc p WHERE p.pronamespace = 'lumin'::regnamespace
		ORDER BY 2 DESC, 1`)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o schemaObject, err error) {
		return o, row.Scan(&o.name, &o.kind, &o.columns)
	})
	if err != nil || len(objects) < 40 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	for _, o := range objects {
		if !strings.Contains("r v S f t", o.kind) {
			t.Errorf("%s has the kind %q, which this test does not try", o.name, o.kind)
		}
	}
	return objects
}

// attempt is a statement that needs one right.
type attempt struct {
	right, column string // column is empty if the right is on the whole object
	sql           string
}

// attempts returns a statement for each right on the object. EXPLAIN checks
// rights like the statement itself.
func (o schemaObject) attempts() (all []attempt) {
	target := "lumin." + o.name
	switch o.kind {
	case "r", "v":
		for _, statement := range []attempt{
			{"SELECT", "", `EXPLAIN SELECT %[2]s FROM %[1]s`},
			{"INSERT", "", `EXPLAIN INSERT INTO %[1]s (%[2]s) VALUES (DEFAULT)`},
			{"UPDATE", "", `EXPLAIN UPDATE %[1]s SET %[2]s = DEFAULT`},
		} {
			for _, column := range o.columns {
				sql := fmt.Sprintf(statement.sql, target, pgx.Identifier{column}.Sanitize())
				if o.kind == "r" || statement.right == "SELECT" { // not every view can be written
					all = append(all, attempt{statement.right, column, sql})
				}
			}
		}
		if o.kind == "r" {
			all = append(all, attempt{"DELETE", "", `EXPLAIN DELETE FROM ` + target}, attempt{"TRUNCATE", "", `TRUNCATE ` + target + ` CASCADE`})
		}
	case "S":
		all = append(all, attempt{"USAGE", "", `SELECT nextval('` + target + `')`}, attempt{"SELECT", "", `SELECT last_value FROM ` + target},
			attempt{"UPDATE", "", `SELECT setval('` + target + `', 1)`})
	case "f":
		// A subquery hides the values from the planner, which would replace a call
		// with NULL by its result.
		var values, names []string
		for i, kind := range o.columns {
			names = append(names, fmt.Sprintf("p%d", i))
			values = append(values, fmt.Sprintf("NULL::%s AS p%d", kind, i))
		}
		all = append(all, attempt{"EXECUTE", "", fmt.Sprintf(`EXPLAIN SELECT %s(%s) FROM (SELECT %s OFFSET 0) v`, target, strings.Join(names, ", "), strings.Join(values, ", "))})
	}
	return all
}

// rights tries every statement on an object, and returns the rights of the role
// of the connection.
func (o schemaObject) rights(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	attempts := o.attempts()
	statements := make([]string, len(attempts))
	for i, a := range attempts {
		statements[i] = a.sql
	}
	var rights []string
	columns := map[string][]string{} // by right
	for i, code := range try(t, conn, statements) {
		a := attempts[i]
		switch {
		case code == "42501":
		case code != done:
			t.Errorf("%s: SQLSTATE %s", a.sql, code)
		default:
			if columns[a.right] == nil {
				rights = append(rights, a.right)
			}
			columns[a.right] = append(columns[a.right], a.column)
		}
	}
	for i, right := range rights {
		if list := columns[right]; list[0] != "" && len(list) < len(o.columns) {
			rights[i] += " (" + strings.Join(list, ", ") + ")"
		}
	}
	return strings.Join(rights, ", ")
}

// done is the code of a statement that was executed and undone.
const done = "ZZ000"

// try executes statements and undoes each of them. It returns their SQLSTATEs.
func try(t *testing.T, conn *pgx.Conn, statements []string) []string {
	t.Helper()
	pgtest.Exec(t, conn, `
		CREATE OR REPLACE FUNCTION pg_temp.try(statements text[]) RETURNS text[] LANGUAGE plpgsql AS $$
		DECLARE
		    codes text[] := '{}';
		    s     text;
		BEGIN
		    FOREACH s IN ARRAY statements LOOP
		        BEGIN
		            EXECUTE s;
		            RAISE EXCEPTION 'done' USING ERRCODE = '`+done+`';
		        EXCEPTION WHEN OTHERS THEN
		            codes := codes || SQLSTATE;
		        END;
		    END LOOP;
		    RETURN codes;
		END
		$$`)
	if statements == nil {
		statements = []string{}
	}
	return pgtest.Value[[]string](t, conn, `SELECT pg_temp.try($1)`, statements)
}

// wantRefused checks that a role can neither create, change nor drop anything,
// nor give itself rights.
func wantRefused(t *testing.T, conn *pgx.Conn, objects []schemaObject) {
	t.Helper()
	statements := []string{
		`CREATE TABLE lumin.mine (id int)`, `CREATE VIEW lumin.mine AS SELECT 1`, `CREATE SEQUENCE lumin.mine`,
		`CREATE FUNCTION lumin.mine() RETURNS int LANGUAGE sql RETURN 1`, `CREATE TYPE lumin.mine AS ENUM ()`,
		`DROP SCHEMA lumin CASCADE`, `ALTER SCHEMA lumin RENAME TO mine`, `CREATE SCHEMA mine`, `CREATE ROLE mine`,
		`GRANT lumin_admin TO lumin_read`, `SET ROLE pg_read_all_data`, `SET session_replication_role = replica`,
	}
	for _, o := range objects {
		switch target := "lumin." + o.name; o.kind {
		case "r":
			statements = append(statements, `ALTER TABLE `+target+` ADD COLUMN mine int`, `ALTER TABLE `+target+` DISABLE TRIGGER ALL`,
				`DROP TABLE `+target+` CASCADE`, `REINDEX TABLE `+target, `CREATE INDEX mine ON `+target+` (`+pgx.Identifier{o.columns[0]}.Sanitize()+`)`,
				`CREATE TRIGGER mine AFTER INSERT ON `+target+` EXECUTE FUNCTION suppress_redundant_updates_trigger()`)
		case "v":
			statements = append(statements, `DROP VIEW `+target+` CASCADE`, `CREATE OR REPLACE VIEW `+target+` AS SELECT 1`)
		case "f", "t":
			statements = append(statements, `DROP FUNCTION `+target+` CASCADE`)
		}
	}
	for i, code := range try(t, conn, statements) {
		if code != "42501" {
			t.Errorf("%s: SQLSTATE %s", statements[i], code)
		}
	}
	if n := pgtest.Value[int](t, conn, `
		SELECT count(*)::int FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'lumin')
		AND (has_table_privilege(oid, 'TRUNCATE, REFERENCES, TRIGGER') OR has_table_privilege(oid, 'SELECT WITH GRANT OPTION'))`); n > 0 {
		t.Errorf("%d tables with a right that no one needs", n)
	}
	if views := pgtest.Value[string](t, conn, `
		SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'lumin')
		AND relkind = 'v' AND (has_table_privilege(oid, 'INSERT, UPDATE, DELETE') OR has_any_column_privilege(oid, 'INSERT, UPDATE'))`); views != "" {
		t.Errorf("views that may be written: %s", views)
	}
}

// Granting again changes nothing. Rights that someone else has granted to a
// role, or to PUBLIC, are revoked. A migration down and up keeps the rights.
func TestGrantRoles(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	admin := pgtest.Conn(t, pgtest.AdminURL(t, url))
	all := func() string { return rights(t, admin) }
	pgtest.UseRoles(t, url)
	first := all()
	if !strings.Contains(first, "lumin_ingest=") {
		t.Fatalf("no rights: %s", first)
	}
	pgtest.Exec(t, admin, `GRANT ALL ON lumin.events, lumin.runs TO lumin_read, PUBLIC; GRANT DELETE ON lumin.runs TO lumin_ingest; REVOKE SELECT ON lumin.events FROM lumin_worker;
		GRANT ALL ON SCHEMA lumin TO PUBLIC; GRANT EXECUTE ON FUNCTION lumin.erase TO lumin_read`)
	if all() == first {
		t.Fatal("the rights did not change")
	}
	// The owner of the tables may do it once the roles exist.
	if _, err := migrations.GrantRoles(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if again := all(); again != first {
		t.Errorf("other rights:\n%s\nwant\n%s", again, first)
	}
	if err := migrations.Down(t.Context(), url, 3); err != nil {
		t.Fatal(err)
	}
	if older := all(); !strings.Contains(older, "event_status") || !strings.Contains(older, "lumin_read=") {
		t.Errorf("an older schema has the rights\n%s", older)
	}
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if again := all(); again != first {
		t.Errorf("other rights after a migration:\n%s\nwant\n%s", again, first)
	}
	// The printed SQL does the same.
	pgtest.Exec(t, admin, `GRANT ALL ON lumin.events TO PUBLIC; REVOKE ALL ON lumin.runs FROM lumin_read`)
	pgtest.Exec(t, admin, migrations.RolesSQL())
	if again := all(); again != first {
		t.Errorf("other rights by the printed SQL:\n%s\nwant\n%s", again, first)
	}
}

// Someone else's procedures and aggregates in the schema prevent neither the
// grants nor a migration.
func TestGrantRolesWithForeignRoutines(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	admin := pgtest.Conn(t, pgtest.AdminURL(t, url))
	pgtest.Exec(t, admin, `
		CREATE PROCEDURE lumin.theirs() LANGUAGE sql AS '';
		CREATE FUNCTION lumin.their_sum(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + b;
		CREATE AGGREGATE lumin.theirs(int ORDER BY int) (SFUNC = lumin.their_sum, STYPE = int)`)
	pgtest.UseRoles(t, url)
	down(t, url, 1)
	up(t, url)
}

// Without the roles, a migration grants nothing and takes nothing from PUBLIC.
func TestDatabaseWithoutRoles(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	db := pgtest.Pool(t, url)
	pgtest.Exec(t, db, `GRANT SELECT ON lumin.events TO PUBLIC`)
	if err := migrations.Down(t.Context(), url, 1); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if !pgtest.Value[bool](t, db, `SELECT EXISTS (SELECT FROM pg_class, aclexplode(relacl) a WHERE oid = 'lumin.events'::regclass AND a.grantee = 0)`) {
		t.Error("a migration has revoked a right")
	}
	if pgtest.Value[bool](t, db, `SELECT EXISTS (SELECT FROM pg_class, aclexplode(relacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE relnamespace = 'lumin'::regnamespace AND r.rolname LIKE 'lumin\_%')`) {
		t.Error("a migration has granted a right")
	}
}

func TestGrantRolesRefused(t *testing.T) {
	t.Parallel()
	server, err := pgdev.Start(t.Context(), pgdev.Config{}) // the other tests create the roles on theirs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	admin := pgtest.Conn(t, server.URL())
	pgtest.Exec(t, admin, `CREATE ROLE owner LOGIN PASSWORD 'x'; CREATE ROLE other LOGIN PASSWORD 'x'`)
	pgtest.Exec(t, admin, `CREATE DATABASE shop OWNER owner`)
	as := func(role string) string {
		return strings.Replace(server.DatabaseURL("shop"), strings.SplitAfter(server.DatabaseURL("shop"), "@")[0], "postgres://"+role+":x@", 1)
	}
	if _, err := migrations.GrantRoles(t.Context(), as("owner")); err == nil || !strings.Contains(err.Error(), "not migrated") {
		t.Errorf("an empty database: %v", err)
	}
	if err := migrations.Up(t.Context(), as("owner")); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.GrantRoles(t.Context(), as("other")); !errors.Is(err, migrations.ErrNotOwner) || !strings.Contains(err.Error(), "owner") {
		t.Errorf("another role: %v", err)
	}
	pgtest.Exec(t, admin, `CREATE ROLE lumin_worker`)
	missing, err := migrations.GrantRoles(t.Context(), as("owner"))
	if !errors.Is(err, migrations.ErrMayNotCreate) || !slices.Equal(missing, []migrations.Role{"lumin_ingest", "lumin_admin", "lumin_read"}) {
		t.Errorf("a role without CREATEROLE: %v, %v", missing, err)
	}
	for _, role := range missing {
		pgtest.Exec(t, admin, `CREATE ROLE `+string(role))
	}
	if missing, err := migrations.GrantRoles(t.Context(), as("owner")); err != nil || len(missing) > 0 {
		t.Errorf("with the roles there: %v, %v", missing, err)
	}
	// The roles go again with these two statements, which the page names.
	for _, role := range migrations.Roles() {
		db := pgtest.Conn(t, server.DatabaseURL("shop"))
		pgtest.Exec(t, db, `DROP OWNED BY `+string(role))
		pgtest.Exec(t, db, `DROP ROLE `+string(role))
	}
	if _, err := migrations.GrantRoles(context.Background(), server.DatabaseURL("shop")); err != nil {
		t.Errorf("a superuser: %v", err)
	}
}
