package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/migrations"
)

type migrateCommand struct {
	Up     migrateUpCommand     `cmd:"" help:"Bring the schema up to date. May run any number of times, also at once."`
	Down   migrateDownCommand   `cmd:"" help:"Take back the newest migrations, with the data in what they made."`
	Status migrateStatusCommand `cmd:"" help:"Tell how far the database is migrated."`
}

type migrateUpCommand struct{ databaseSettings }

// Run implements the command.
func (c *migrateUpCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	if err := migrations.Up(ctx, url); err != nil {
		return err
	}
	return printStatus(ctx, std, url)
}

type migrateDownCommand struct {
	databaseSettings
	N int `arg:"" help:"How many migrations to take back. All of them removes every stored event."`
}

// Run implements the command.
func (c *migrateDownCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	if c.N < 1 {
		return usage(fmt.Sprintf("%d is not a number of migrations", c.N), "give 1 or more; \"migrate status\" tells how many are applied")
	}
	if err := migrations.Down(ctx, url, c.N); err != nil {
		return err
	}
	return printStatus(ctx, std, url)
}

type migrateStatusCommand struct{ databaseSettings }

// Run implements the command.
func (c *migrateStatusCommand) Run(ctx context.Context, std streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	return printStatus(ctx, std, url)
}

// printStatus fails when the schema is dirty, which nothing else may change.
func printStatus(ctx context.Context, std streams, url string) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("the database does not answer: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	status, err := migrations.ReadStatus(ctx, conn)
	if err != nil {
		return err
	}
	if status.Dirty {
		return errors.New(status.String())
	}
	fmt.Fprintln(std.out, status)
	return nil
}
