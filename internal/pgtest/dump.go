package pgtest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Dump returns the output of pg_dump for a database. Without a pg_dump that is
// new enough for the server, it returns the rows of all tables, which is the
// data in such a dump.
func Dump(tb testing.TB, databaseURL string) []byte {
	tb.Helper()
	server := Value[int](tb, Conn(tb, databaseURL), `SELECT current_setting('server_version_num')::int / 10000`)
	candidates, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump") // fails only for a malformed pattern
	if inPath, err := exec.LookPath("pg_dump"); err == nil {
		candidates = append(candidates, inPath)
	}
	for _, program := range candidates {
		if clientMajor(tb, program) < server {
			continue // pg_dump refuses servers newer than itself
		}
		var stderr bytes.Buffer
		cmd := exec.CommandContext(tb.Context(), program, "--dbname", databaseURL)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			tb.Fatalf("%s: %v\n%s", program, err, &stderr)
		}
		return out
	}
	tb.Logf("no pg_dump of version %d or newer is installed: the rows of all tables stand for a dump", server)
	return copyTables(tb, databaseURL)
}

// copyTables returns the rows of all tables, as pg_dump prints them.
func copyTables(tb testing.TB, databaseURL string) []byte {
	tb.Helper()
	conn := Conn(tb, databaseURL)
	rows, err := conn.Query(tb.Context(), `
		SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`)
	if err != nil {
		tb.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatal(err)
	}
	var all bytes.Buffer
	for _, table := range tables {
		if _, err := conn.PgConn().CopyTo(tb.Context(), &all, `COPY (SELECT * FROM `+table+`) TO STDOUT`); err != nil {
			tb.Fatalf("copy %s: %v", table, err)
		}
	}
	return all.Bytes()
}

var clientVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// clientMajor returns the major version of one of PostgreSQL's client programs.
func clientMajor(tb testing.TB, program string) int {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), program, "--version").Output()
	if err != nil {
		tb.Fatalf("%s --version: %v", program, err)
	}
	match := clientVersion.FindSubmatch(out)
	if match == nil {
		tb.Fatalf("%s --version does not report a version: %s", program, out)
	}
	major, err := strconv.Atoi(string(match[1]))
	if err != nil {
		tb.Fatal(err)
	}
	return major
}
