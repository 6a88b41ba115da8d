package migrations

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Role is a group role that [GrantRoles] creates. It cannot log in. Logins get
// its rights as its members.
type Role string

// The four roles. Each has only the rights that its programs and people need in
// the schema lumin, and no others.
const (
	Ingest Role = "lumin_ingest" // programs that receive deliveries
	Worker Role = "lumin_worker" // programs that work jobs
	Admin  Role = "lumin_admin"  // commands that change something
	Read   Role = "lumin_read"   // commands and queries that only read, without bodies
)

// Roles returns the four roles.
func Roles() []Role { return []Role{Ingest, Worker, Admin, Read} }

//go:embed rights.sql
var rightsSQL string

// objectsSQL returns the objects in the schema that rights are granted on. GRANT
// ON FUNCTION accepts no procedure and not every aggregate. We have neither, but
// someone else may have created some in the schema.
const objectsSQL = `
SELECT c.oid, c.relname AS name, c.relowner AS owner, CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || format('lumin.%I', c.relname) AS target
FROM pg_catalog.pg_class c WHERE c.relnamespace = pg_catalog.to_regnamespace('lumin') AND c.relkind IN ('r', 'v', 'S')
UNION ALL
SELECT p.oid, p.proname, p.proowner, format('FUNCTION lumin.%I(%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
FROM pg_catalog.pg_proc p WHERE p.pronamespace = pg_catalog.to_regnamespace('lumin') AND p.prokind = 'f'`

// createRolesSQL creates the roles that are missing. Another database of the
// server may have created them, even at this moment.
func createRolesSQL() string {
	return `DO $create$
DECLARE
    missing text;
BEGIN
    FOR missing IN
        SELECT r.name FROM unnest('{` + joined(Roles(), ",") + `}'::text[]) AS r (name)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles p WHERE p.rolname = r.name)
    LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$create$;
`
}

// useRolesSQL makes this database use the roles: see renewRightsSQL.
func useRolesSQL() string {
	return `REVOKE ALL ON SCHEMA lumin FROM PUBLIC;
GRANT USAGE ON SCHEMA lumin TO ` + joined(Roles(), ", ") + `;
`
}

// renewRightsSQL gives the roles exactly the rights of rights.sql. It concerns
// only the roles with USAGE on the schema, so it has no effect in a database
// that does not use the roles. Objects and columns that do not exist are left
// out, because the schema may be older than this program. Granting locks no
// table.
//
// PUBLIC keeps EXECUTE on functions. They run with the rights of the caller, who
// needs USAGE on the schema. A login with rights of its own would lose EXECUTE
// whenever a migration recreates a function.
func renewRightsSQL() string {
	return `DO $renew$
DECLARE
    granted   text[];
    statement text;
BEGIN
    SELECT array_agg(DISTINCT r.rolname) INTO granted
    FROM pg_catalog.pg_namespace n
    CROSS JOIN aclexplode(n.nspacl) a
    JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = 'lumin' AND r.rolname IN ('` + joined(Roles(), "', '") + `');
    IF granted IS NULL THEN
        RETURN;
    END IF;
    FOR statement IN
        SELECT format('REVOKE ALL ON %s FROM %s%s', o.target, CASE WHEN o.target NOT LIKE 'FUNCTION %' THEN 'PUBLIC, ' END, array_to_string(granted, ', '))
        FROM (` + objectsSQL + `) o
        WHERE pg_has_role(o.owner, 'USAGE')
    LOOP
        EXECUTE statement;
    END LOOP;
    FOR statement IN
        SELECT format('GRANT %s ON %s TO %I', r.privilege || coalesce(' (' || c.names || ')', ''), o.target, r.grantee)
        FROM (` + rightsSQL + `) r
        JOIN (` + objectsSQL + `) o ON o.name = r.object
        CROSS JOIN LATERAL (
            SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS names
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = o.oid AND a.attname = ANY (r.columns) AND NOT a.attisdropped
        ) c
        WHERE r.grantee = ANY (granted) AND (r.columns IS NULL OR c.names IS NOT NULL)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$renew$;
`
}

// RolesSQL returns the SQL of [GrantRoles], for someone else to run.
func RolesSQL() string {
	return "BEGIN;\n" + createRolesSQL() + useRolesSQL() + renewRightsSQL() + "COMMIT;\n"
}

// Errors of [GrantRoles].
var (
	ErrNotOwner     = errors.New("this role does not own the schema lumin and its tables")
	ErrMayNotCreate = errors.New("this role may not create the roles")
)

// GrantRoles creates the roles that are missing on the server, and returns
// them, also with ErrMayNotCreate. It then gives all four their rights in this
// database, and takes every other right on our objects from them. PUBLIC keeps
// only EXECUTE on functions. From then on [Up] and [Down] keep the rights up to date.
func GrantRoles(ctx context.Context, databaseURL string) (missing []Role, err error) {
	return GrantRolesReporting(ctx, databaseURL, nil)
}

// GrantRolesReporting is like GrantRoles, and calls report if it has to wait, unless
// report is nil.
func GrantRolesReporting(ctx context.Context, databaseURL string, report func(Step)) (missing []Role, err error) {
	err = locked(ctx, databaseURL, report, func(m *migrator) error {
		missing, err = m.grantRoles(ctx)
		return err
	})
	return missing, err
}

func (m *migrator) grantRoles(ctx context.Context) ([]Role, error) {
	if err := m.checkOwner(ctx); err != nil {
		return nil, err
	}
	status, err := ReadStatus(ctx, m.conn)
	switch {
	case err != nil:
		return nil, err
	case !status.Current():
		return nil, errors.New(status.String())
	case status.Version > status.Latest:
		return nil, fmt.Errorf("%s: use the newer program, which knows the rights of the newer tables", status)
	}
	missing, err := m.missingRoles(ctx)
	if err != nil {
		return nil, err
	}
	err = pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, createRolesSQL()); err != nil {
			return createRolesError(missing, err)
		}
		if _, err := tx.Exec(ctx, useRolesSQL()+renewRightsSQL()); err != nil {
			return fmt.Errorf("grant the rights of the roles: %w", err)
		}
		return nil
	})
	return missing, err
}

func createRolesError(missing []Role, err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != pgerrcode.InsufficientPrivilege {
		return fmt.Errorf("create the roles: %w", err)
	}
	return fmt.Errorf("%w %s: %w", ErrMayNotCreate, joined(missing, ", "), err)
}

// checkOwner returns an error unless this role may grant rights on all our
// objects.
func (m *migrator) checkOwner(ctx context.Context) error {
	var owners []string
	err := m.conn.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT r.rolname::text
		             FROM (SELECT owner FROM (`+objectsSQL+`) o UNION SELECT nspowner FROM pg_catalog.pg_namespace WHERE nspname = 'lumin') o
		             JOIN pg_catalog.pg_roles r ON r.oid = o.owner
		             WHERE NOT pg_catalog.pg_has_role(o.owner, 'USAGE') ORDER BY 1)`).Scan(&owners)
	if err != nil {
		return fmt.Errorf("find the owner of schema %s: %w", Schema, err)
	}
	if len(owners) > 0 {
		return fmt.Errorf("%w: they belong to %s", ErrNotOwner, strings.Join(owners, ", "))
	}
	return nil
}

func (m *migrator) missingRoles(ctx context.Context) (missing []Role, err error) {
	err = m.conn.QueryRow(ctx, `
		SELECT ARRAY(SELECT r.name FROM unnest($1::text[]) WITH ORDINALITY AS r (name, n)
		             WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles p WHERE p.rolname = r.name) ORDER BY r.n)`,
		Roles()).Scan(&missing)
	if err != nil {
		return nil, fmt.Errorf("find the roles: %w", err)
	}
	return missing, nil
}

// Access says what one of the roles gives, and what of it the role that is
// connected has.
type Access struct {
	User    string   // the role that is connected, as an identifier in SQL
	Member  bool     // it has the rights of the other role, as a member or a superuser
	Missing []string // GRANT statements for the rights that it lacks
}

// ReadAccess compares the rights of the role that is connected with those of
// one of ours, which need not exist.
func ReadAccess(ctx context.Context, db querier, role Role) (a Access, err error) {
	err = db.QueryRow(ctx, `
		WITH needed AS (
		    SELECT o.target, p.privilege, o.oid, a.attname, a.attnum
		    FROM (`+rightsSQL+`) r
		    JOIN (`+objectsSQL+`) o ON o.name = r.object
		    CROSS JOIN LATERAL regexp_split_to_table(r.privilege, ', ') AS p (privilege)
		    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attname = ANY (r.columns) AND NOT a.attisdropped
		    WHERE r.grantee = $1 AND (r.columns IS NULL OR a.attname IS NOT NULL)
		), missing AS (
		    SELECT 'SCHEMA lumin' AS target, 'USAGE' AS privilege, NULL AS columns
		    WHERE NOT pg_catalog.has_schema_privilege('lumin', 'USAGE')
		    UNION ALL
		    SELECT target, privilege, string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM needed
		    WHERE NOT CASE
		        WHEN target LIKE 'FUNCTION %' THEN pg_catalog.has_function_privilege(oid, privilege)
		        WHEN target LIKE 'SEQUENCE %' THEN pg_catalog.has_sequence_privilege(oid, privilege)
		        WHEN attnum IS NULL THEN pg_catalog.has_table_privilege(oid, privilege)
		        ELSE pg_catalog.has_column_privilege(oid, attnum, privilege) END
		    GROUP BY 1, 2
		)
		SELECT quote_ident(current_user),
		       coalesce((SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles r WHERE r.rolname = $1), false),
		       ARRAY(SELECT format('GRANT %s ON %s TO %I', string_agg(privilege || coalesce(' (' || columns || ')', ''), ', ' ORDER BY privilege),
		                           target, current_user)
		             FROM missing GROUP BY target ORDER BY target LIKE 'SCHEMA%' DESC, target)`,
		string(role)).Scan(&a.User, &a.Member, &a.Missing)
	if err != nil {
		return a, fmt.Errorf("compare rights: %w", err)
	}
	return a, nil
}

// joined joins the names of roles.
func joined(roles []Role, separator string) string {
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = string(role)
	}
	return strings.Join(names, separator)
}
