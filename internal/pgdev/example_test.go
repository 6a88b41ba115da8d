//go:build unix

package pgdev_test

import (
	"context"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
)

// A server keeps committed data when it crashes and is resumed.
func Example() {
	ctx := context.Background()
	server, err := pgdev.Start(ctx, pgdev.Config{})
	if err != nil {
		log.Fatal(err) // the watchdog cleans up after every kind of exit
	}
	defer server.Close()

	execute(ctx, server.URL(), "CREATE TABLE notes AS SELECT 'committed' AS note")
	if err := server.Halt(pgdev.Kill); err != nil {
		log.Fatal(err)
	}
	if err := server.Resume(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(execute(ctx, server.URL(), "SELECT note FROM notes"))
	// Output: SELECT 1
}

func execute(ctx context.Context, url, sql string) string {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	tag, err := conn.Exec(ctx, sql)
	if err != nil {
		log.Fatal(err)
	}
	return tag.String()
}
