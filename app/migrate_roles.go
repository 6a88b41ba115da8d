package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"lumin-ingest/internal/advice"
	"lumin-ingest/migrations"
)

type migrateRolesCommand struct {
	databaseSettings
	Print bool `help:"Print the SQL instead of running it. A superuser can run it, or the owner of the tables with CREATEROLE. Needs no database."`
}

// rolePurpose says what each role is for.
func rolePurpose(role migrations.Role) string {
	switch role {
	case migrations.Ingest:
		return "programs that receive deliveries: serve --role ingest"
	case migrations.Worker:
		return "programs that work jobs: serve --role worker"
	case migrations.Admin:
		return "commands that change something"
	default:
		return "commands and queries that only read, without bodies"
	}
}

// Run creates and grants the roles.
func (c *migrateRolesCommand) Run(ctx context.Context, std streams) error {
	if c.Print {
		fmt.Fprint(std.out, migrations.RolesSQL())
		return nil
	}
	url, err := c.writableURL()
	if err != nil {
		return err
	}
	created, err := migrations.GrantRolesReporting(ctx, url, func(step migrations.Step) { printStep(std, step) })
	switch {
	case errors.Is(err, migrations.ErrMayNotCreate):
		create := make([]string, len(created))
		for i, role := range created {
			create[i] = "CREATE ROLE " + string(role)
		}
		return advice.Add(err, "ask an administrator to run \"%s\", then repeat this command", strings.Join(create, "; "))
	case errors.Is(err, migrations.ErrNotOwner):
		return advice.Add(err, "run this command as their owner, or as a superuser; \"%s migrate roles --print\" shows the SQL", invocation())
	case err != nil:
		return err
	}
	for _, role := range migrations.Roles() {
		state := "exists"
		if slices.Contains(created, role) {
			state = "created"
		}
		fmt.Fprintf(std.out, "%-12s  %-7s  %s\n", role, state, rolePurpose(role))
	}
	fmt.Fprintln(std.out, "next, make your logins members of the roles, for example: GRANT lumin_ingest, lumin_worker TO my_login")
	return nil
}
