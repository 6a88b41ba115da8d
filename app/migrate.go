package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/migrations"
)

type migrateCommand struct {
	Up     migrateUpCommand     `cmd:"" help:"Bring the schema up to date. Safe to repeat, and safe to run several times at once."`
	Down   migrateDownCommand   `cmd:"" help:"Undo the newest migrations. This removes the data in the tables and columns that they created."`
	Status migrateStatusCommand `cmd:"" help:"Show which version of the schema the database has."`
	Roles  migrateRolesCommand  `cmd:"" help:"Create the roles lumin_ingest, lumin_worker, lumin_admin and lumin_read, each with only the rights that it needs. Safe to repeat."`
}

type migrateUpCommand struct{ databaseSettings }

func (c *migrateUpCommand) Run(ctx context.Context, std streams) error {
	url, err := c.writableURL()
	if err != nil {
		return err
	}
	steps := 0
	err = migrations.UpReporting(ctx, url, func(step migrations.Step) {
		steps++
		printStep(std, step)
	})
	if err != nil {
		return needsOwner(err)
	}
	status, err := readStatus(ctx, url)
	switch {
	case err != nil:
		return err
	case steps == 0 && status.Version > status.Latest:
		fmt.Fprintf(std.out, "nothing to do: %s\n", status)
	case steps == 0:
		fmt.Fprintf(std.out, "nothing to do: the schema is at %d\n", status.Version)
	default:
		fmt.Fprintln(std.out, status)
	}
	return nil
}

// needsOwner adds advice to the error of a role that may not migrate.
func needsOwner(err error) error {
	if !advice.LacksRight(err) {
		return err
	}
	return advice.Add(err, "run this command as the owner of the schema lumin, or as a superuser")
}

func printStep(std streams, step migrations.Step) {
	fmt.Fprintf(std.out, "%-40s %s\n", step.Name, step.Took.Round(time.Millisecond))
}

type migrateDownCommand struct {
	databaseSettings
	N   int  `arg:"" help:"Number of migrations to undo. Undoing all of them removes every stored event."`
	Yes bool `help:"Confirm the loss of data. Without this flag, a command that would lose data counts it and changes nothing."`
}

func (c *migrateDownCommand) Run(ctx context.Context, std streams) error {
	url, err := c.writableURL()
	if err != nil {
		return err
	}
	if c.N < 1 {
		return advice.Usage(fmt.Sprintf("%d is not a number of migrations", c.N), "give 1 or more; \"migrate status\" shows how many are applied")
	}
	if !c.Yes {
		if err := c.refuseLoss(ctx, url); err != nil {
			return err
		}
	}
	if err := migrations.DownReporting(ctx, url, c.N, func(step migrations.Step) { printStep(std, step) }); err != nil {
		return needsOwner(err)
	}
	return printStatus(ctx, std, url)
}

// refuseLoss fails if the migrations to undo hold data.
func (c *migrateDownCommand) refuseLoss(ctx context.Context, url string) error {
	losses, err := migrations.Losses(ctx, url, c.N)
	if err != nil || len(losses) == 0 {
		return err
	}
	lost := make([]string, len(losses))
	for i, loss := range losses {
		rows := "rows"
		switch loss.Rows {
		case 1:
			rows = "row"
		case migrations.MaxLoss:
			rows = "rows or more"
		}
		lost[i] = fmt.Sprintf("%s (%d %s)", loss.What, loss.Rows, rows)
	}
	return advice.Usage(fmt.Sprintf("migrate down %d would remove data for good: %s", c.N, strings.Join(lost, ", ")),
		"nothing has changed; take a backup and add --yes to remove it")
}

type migrateStatusCommand struct{ databaseSettings }

func (c *migrateStatusCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	return printStatus(ctx, std, url)
}

// printStatus fails when the schema is marked dirty.
func printStatus(ctx context.Context, std streams, url string) error {
	status, err := readStatus(ctx, url)
	if err != nil {
		return err
	}
	if status.Dirty {
		return advice.Add(errors.New(status.String()), "each migration is one transaction, so none is half applied")
	}
	fmt.Fprintln(std.out, status)
	return nil
}

// statusTimeout bounds the wait for a database that does not answer.
const statusTimeout = 5 * time.Second

func readStatus(ctx context.Context, url string) (migrations.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	conn, err := pgopen.Conn(ctx, url, pgopen.Options{})
	if err != nil {
		return migrations.Status{}, fmt.Errorf("the database does not answer: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return migrations.ReadStatus(ctx, conn)
}
