package advice_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/pgtest"
)

func TestOf(t *testing.T) {
	t.Parallel()
	_, unreachable := pgx.Connect(t.Context(), "postgres://nobody@127.0.0.1:1/none")
	for _, test := range []struct {
		name            string
		err             error
		problem, advice string
		usage           bool
	}{
		{"plain", errors.New("it broke"), "it broke", "", false},
		{"with advice", advice.Add(errors.New("it broke"), "try %d times", 2), "it broke", "try 2 times", false},
		{"wrapped", fmt.Errorf("start: %w", advice.Add(errors.New("it broke"), "try")), "start: it broke", "try", false},
		{"advice on advice", advice.Add(advice.Add(errors.New("it broke"), "inner"), "outer"), "it broke", "outer", false},
		{"usage", advice.Usage("KEY is 5 %", "set it to %d", 6), "KEY is 5 %", "set it to 6", true},
		{"advice on usage", advice.Add(advice.Usage("KEY is 5", "inner"), "outer"), "KEY is 5", "outer", true},
		{"timeout", context.DeadlineExceeded, "no answer in time", "", false},
	} {
		problem, remedy := advice.Of(test.err)
		if problem != test.problem || remedy != test.advice || errors.Is(test.err, advice.ErrUsage) != test.usage {
			t.Errorf("%s: %q and %q, usage %v", test.name, problem, remedy, !test.usage)
		}
	}
	if _, remedy := advice.Of(fmt.Errorf("begin: %w", unreachable)); remedy != advice.Unreachable {
		t.Errorf("a server that does not run: %q", remedy)
	}
	if _, remedy := advice.Of(advice.Add(unreachable, "check DEV_DATABASE_URL")); remedy != "check DEV_DATABASE_URL" {
		t.Errorf("a server that does not run, with advice: %q", remedy)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	pool := pgtest.Pool(t, url)
	pgtest.Exec(t, pool, `CREATE TABLE t ()`)
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.Background()) }()
	if _, err := holder.Exec(t.Context(), `LOCK TABLE t`); err != nil {
		t.Fatal(err)
	}
	for sql, word := range map[string]string{
		`SET lock_timeout = 10; SELECT FROM t`:       "another session",
		`SET statement_timeout = 10; SELECT FROM t`:  "fewer rows",
		`SET statement_timeout = 10; SELECT missing`: "",
	} {
		_, err := pgtest.Conn(t, url).Exec(t.Context(), sql)
		if _, remedy := advice.Of(fmt.Errorf("list events: %w", err)); !strings.Contains(remedy, word) || (word == "" && remedy != "") {
			t.Errorf("%s: %v: %q", sql, err, remedy)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	pgtest.Exec(t, pgtest.Pool(t, url), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 0', current_database()); END $$`)
	_, err := pgx.Connect(t.Context(), url)
	if _, remedy := advice.Of(fmt.Errorf("begin: %w", err)); remedy != advice.FewConnections {
		t.Errorf("%v: %q", err, remedy)
	}
}

func TestMissingRight(t *testing.T) {
	t.Parallel()
	_, err := pgtest.Conn(t, pgtest.NewEmpty(t)).Exec(t.Context(), `SELECT FROM pg_authid`)
	if _, remedy := advice.Of(fmt.Errorf("read: %w", err)); remedy != advice.MissingRight || !advice.LacksRight(err) {
		t.Errorf("%v: %q", err, remedy)
	}
	if advice.LacksRight(errors.New("permission denied")) {
		t.Error("an error that the server did not send")
	}
}

// A server before PostgreSQL 14 refuses every connection of this program. Its
// answer is imitated, as none is installed. A newer server with the same code
// refuses an option of the user.
func TestOldServer(t *testing.T) {
	t.Parallel()
	_, err := pgx.Connect(t.Context(), pgtest.NewEmpty(t)+"&no_such_option=1")
	var refused *pgconn.PgError
	if _, remedy := advice.Of(err); !errors.As(err, &refused) || remedy != advice.Unreachable {
		t.Fatalf("%v: %q", err, remedy)
	}
	refused.Message = `unrecognized configuration parameter "idle_session_timeout"`
	if _, remedy := advice.Of(fmt.Errorf("begin: %w", err)); remedy != advice.OldServer {
		t.Errorf("%v: %q", err, remedy)
	}
	old := advice.RefusedOption(fmt.Errorf("begin: %w", err))
	if old == nil || errors.Is(old, advice.ErrUsage) {
		t.Fatalf("%v is not about an old server: %v", err, old)
	}
	if problem, remedy := advice.Of(old); problem != "the server is older than PostgreSQL 14" || remedy != advice.OldServer {
		t.Errorf("%q and %q", problem, remedy)
	}
}

func TestRefusedOption(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	_, err := pgx.Connect(t.Context(), url+"&no_such_option=1")
	refused := advice.RefusedOption(fmt.Errorf("begin: %w", err))
	if !errors.Is(refused, advice.ErrUsage) {
		t.Fatalf("%v is not about an option: %v", err, refused)
	}
	if problem, remedy := advice.Of(refused); problem != `the server refuses an option in DATABASE_URL: unrecognized configuration parameter "no_such_option"` || remedy != "correct it, or remove it" {
		t.Errorf("%q and %q", problem, remedy)
	}
	for _, err := range []error{nil, errors.New("it broke"), advice.Usage("no", "yes")} {
		if refused := advice.RefusedOption(err); refused != nil {
			t.Errorf("%v: %v", err, refused)
		}
	}
}
