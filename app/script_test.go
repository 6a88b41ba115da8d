package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
)

// TestScripts runs the command line as its users do. The scripts have these
// commands in addition to those of testscript:
//
//	database [empty]   creates a database, migrated or empty, and sets
//	                   DATABASE_URL. Commands on a migrated one have the rights
//	                   of lumin_admin, serve those of lumin_ingest and
//	                   lumin_worker (SERVER_URL), and these commands those of
//	                   the owner (OWNER_URL)
//	login NAME ROLE... sets NAME to the URL of a new login with these roles
//	fails CODE ARG...  the program must exit with CODE and print two lines
//	server [ARG...]    starts serve and waits until it is ready; sets SERVER and
//	                   ADMIN to its URLs, and SERVER_ADDRESS and ADMIN_ADDRESS
//	                   to host and port. One with --role worker leaves SERVER
//	stop-server        sends SIGTERM to serve, which must exit with 0
//	deliver FILE       sends FILE to SERVER, signed as from the account
//	settled            waits until no run is pending and no replay is unfinished
//	sql STATEMENT      prints the rows of STATEMENT
//	sql-until S TEXT   waits until statement S returns TEXT
//	metric LINE        waits until the metrics of ADMIN have a line that begins so
//	occupy NAME        listens on a port; sets NAME to its address
//	lumin-api          starts a stand-in for Lumin's API; sets LUMIN_API_URL and
//	                   LUMIN_API_KEY
//	webhook            starts a webhook for alerts; sets ALERT_WEBHOOK_URL to its URL
//	received           prints what the webhook was sent
//	lumin-status ID S [AGO]  the stand-in reports status S for signature request ID, since AGO
//
// The condition [api] holds in [TestScriptsOnServer].
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, scriptParams(testscript.Params{Dir: "testdata"}, false))
}

// scriptParams adds the commands of the scripts. With onServer, commands of
// operators use an API on the database that a script makes.
func scriptParams(params testscript.Params, onServer bool) testscript.Params {
	commands := map[string]func(*testscript.TestScript, bool, []string){}
	for name, do := range map[string]func(*script, []string){
		"database": (*script).database, "login": (*script).login, "fails": (*script).fails,
		"server": (*script).server, "stop-server": (*script).stopServer,
		"deliver": (*script).deliver, "settled": (*script).settled,
		"sql": (*script).sql, "sql-until": (*script).sqlUntil, "occupy": (*script).occupy, "metric": (*script).metric,
		"webhook": (*script).webhook, "received": (*script).received,
		"lumin-api": (*script).luminAPI, "lumin-status": (*script).luminStatus,
	} {
		commands[name] = func(ts *testscript.TestScript, negated bool, args []string) {
			if negated {
				ts.Fatalf("%s cannot be negated", name)
			}
			s := ts.Value(scriptKey{}).(*script)
			s.TestScript = ts
			do(s, args)
		}
	}
	params.Cmds = commands
	params.Setup = func(env *testscript.Env) error {
		env.Values[scriptKey{}] = &script{tb: env.T().(testing.TB), onServer: onServer}
		env.Setenv("LUMIN_ACCOUNT_API_KEYS", accountKey)
		env.Setenv("GORACE", noSleepAtExit)
		if folder := os.Getenv(commandsVariable); folder != "" {
			env.Setenv("PATH", folder+string(filepath.ListSeparator)+env.Getenv("PATH"))
		}
		return nil
	}
	params.Condition = func(condition string) (bool, error) {
		if condition != "api" {
			return false, errors.New("unknown condition")
		}
		return onServer, nil
	}
	return params
}

// commandsVariable names a folder with the commands of scripts, lumin-ingest and
// signing-jobs, built from these tests. make test builds them without the race
// detector: a script starts hundreds, and a start with it costs three times as much.
// serve always has it, and so has each command in TestCanary.
const commandsVariable = "LUMIN_TEST_COMMANDS"

type scriptKey struct{}

// script is the state of one script.
type script struct {
	*testscript.TestScript
	tb       testing.TB
	onServer bool // commands of operators use an API
	running  *program
	api      *luminapi.Server
	hook     chan string // what the webhook was sent
}

func (s *script) database(args []string) {
	if len(args) == 1 && args[0] == "empty" {
		s.Setenv("DATABASE_URL", pgtest.NewEmpty(s.tb))
		s.Setenv("OWNER_URL", "")
		s.Setenv("SERVER_URL", "")
		return
	}
	url := newDatabase(s.tb)
	pgtest.UseRoles(s.tb, url)
	pgtest.Exec(s.tb, connect(s.tb, url), `
		GRANT USAGE ON SCHEMA lumin_test TO lumin_worker, lumin_admin;
		GRANT SELECT, INSERT ON lumin_test.effects, lumin_test.broken TO lumin_worker, lumin_admin`)
	s.Setenv("OWNER_URL", url)
	s.login([]string{"SERVER_URL", "lumin_ingest", "lumin_worker"})
	s.login([]string{"DATABASE_URL", "lumin_admin"})
	if s.onServer {
		s.Setenv("LUMIN_INGEST_SERVER", serveAPI(s.tb, s.Getenv("DATABASE_URL")))
	}
}

func (s *script) login(args []string) {
	roles := make([]migrations.Role, len(args)-1)
	for i, name := range args[1:] {
		roles[i] = migrations.Role(name)
	}
	s.Setenv(args[0], pgtest.Login(s.tb, s.owner(), roles...))
}

// owner returns the URL of the role that owns the database.
func (s *script) owner() string { return cmp.Or(s.Getenv("OWNER_URL"), s.Getenv("DATABASE_URL")) }

// environment returns the variables of the script that a command reads. args
// begin with its name, and may be empty.
func (s *script) environment(args ...string) []string {
	var env []string
	for _, name := range []string{
		"DATABASE_URL", "DATABASE_URL_FILE", "DEV_DATABASE_URL", "LUMIN_INGEST_SERVER", "LUMIN_INGEST_TOKEN", "LUMIN_INGEST_TOKEN_FILE", "LISTEN_ADDR", "PORT", "ADMIN_LISTEN_ADDR", "MAX_EVENT_AGE", "LATE_EVENTS",
		"LUMIN_ACCOUNT_API_KEYS", "LUMIN_ACCOUNT_API_KEYS_FILE", "LUMIN_APP_SECRETS", "LUMIN_APP_SECRETS_FILE",
		"LUMIN_API_KEY", "LUMIN_API_KEY_FILE", "LUMIN_API_URL", "LUMIN_ROLE", "WORKERS", "QUEUES", "TEST_JOBS",
		"FORWARD_URLS", "FORWARD_SECRETS", "FORWARD_ALLOW_NETWORKS", "ARCHIVE_URL", "ARCHIVE_FILES", "RECONCILE_EVERY", "RECONCILE_REPAIR", "RECOVER_EVERY", "SIGNATURE_REQUEST_STATE", "ALERT_WEBHOOK_URL",
		"MAX_BODY_MEMORY", "TRUSTED_PROXIES", "RETAIN_PAYLOADS", "RETAIN_EVENTS", "DRAIN_DELAY", "TLS_CERT_FILE", "TLS_KEY_FILE", "LOG_LEVEL", "LOG_FORMAT", "PATH", "HOME", "GORACE",
	} {
		if value := s.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	if len(args) > 0 && args[0] == "serve" && s.Getenv("DATABASE_URL") != "" && s.Getenv("SERVER_URL") != "" {
		env = append(env, "DATABASE_URL="+s.Getenv("SERVER_URL")) // the last value counts
	}
	return env
}

func (s *script) fails(args []string) {
	code, err := strconv.Atoi(args[0])
	s.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv(commandsVariable), "lumin-ingest"), args[1:]...)
	cmd.Env, cmd.Dir = s.environment(args[1:]...), s.MkAbs(".")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = s.Stdout(), &stderr
	err = cmd.Run()
	_, _ = s.Stderr().Write(stderr.Bytes())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		s.Fatalf("%v, want exit code %d", err, code)
	}
	said := strings.Split(stderr.String(), "\n")
	if len(said) != 3 || !strings.HasPrefix(said[0], "lumin-ingest: ") || !strings.HasPrefix(said[1], "  ") || said[2] != "" {
		s.Fatalf("want two lines, what went wrong and what to do: %q", stderr.String())
	}
	if found := leaks(stderr.String()); len(found) > 0 {
		s.Fatalf("the message shows %q", found)
	}
}

func (s *script) server(args []string) {
	env := append([]string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=127.0.0.1:0", "DRAIN_DELAY=0s"}, s.environment("serve")...)
	s.running = startProgram(s.tb, env, append([]string{"serve"}, args...)...)
	s.running.waitReady()
	s.Setenv("ADMIN", s.running.admin())
	s.Setenv("ADMIN_ADDRESS", strings.TrimPrefix(s.running.admin(), "http://"))
	if slices.Contains(args, "worker") {
		return // it receives nothing
	}
	s.Setenv("SERVER_ADDRESS", strings.TrimPrefix(s.running.public(), "http://"))
	s.Setenv("SERVER", s.running.public())
}

func (s *script) stopServer([]string) {
	s.running.signal(syscall.SIGTERM)
	if code := s.running.wait(30 * time.Second); code != 0 {
		s.Fatalf("it ended with %d", code)
	}
}

func (s *script) deliver(args []string) {
	content := []byte(s.ReadFile(args[0]))
	r := mustPost(s.tb, s.Getenv("SERVER")+"/webhooks/account", content, lumin.Sign(content, s.Getenv("LUMIN_ACCOUNT_API_KEYS")))
	fmt.Fprintln(s.Stdout(), r.code, strings.TrimSpace(r.body))
}

func (s *script) webhook([]string) {
	got := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		got <- fmt.Sprintln(r.Method, r.Header.Get("Content-Type"), string(body), err)
	}))
	s.Defer(server.Close)
	s.hook = got
	s.Setenv("ALERT_WEBHOOK_URL", server.URL+"/verysecret")
}

func (s *script) received([]string) {
	for range len(s.hook) {
		fmt.Fprint(s.Stdout(), <-s.hook)
	}
}

func (s *script) luminAPI([]string) {
	s.api = luminapi.New()
	s.Defer(s.api.Close)
	s.Setenv("LUMIN_API_URL", s.api.URL())
	s.Setenv("LUMIN_API_KEY", luminapi.APIKey)
}

func (s *script) luminStatus(args []string) {
	members := map[string]any{"status": args[1]}
	if len(args) > 2 { // how long ago the status changed
		ago, err := time.ParseDuration(args[2])
		s.Check(err)
		members["updated_at"] = int(time.Now().Add(-ago).UnixMilli())
	}
	s.api.SetRequest(args[0], members)
	s.api.SetFile(args[0], lumin.FileAgreement, luminapi.PDF(5000))
}

func (s *script) settled([]string) { waitSettled(s.tb, connect(s.tb, s.owner())) }

func (s *script) sql(args []string) {
	rows, err := connect(s.tb, s.owner()).Query(context.Background(), args[0])
	s.Check(err)
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		s.Check(err)
		fmt.Fprintln(s.Stdout(), values...)
	}
	s.Check(rows.Err())
}

func (s *script) sqlUntil(args []string) {
	conn := connect(s.tb, s.owner())
	eventually(s.tb, 30*time.Second, args[0]+" gives "+args[1], func() bool {
		var got string
		s.Check(conn.QueryRow(context.Background(), args[0]).Scan(&got))
		return got == args[1]
	})
}

func (s *script) metric(args []string) {
	eventually(s.tb, 10*time.Second, "a metric "+args[0], func() bool {
		_, text := get(s.Getenv("ADMIN") + "/metrics")
		return strings.Contains(text, "\n"+args[0])
	})
}

func (s *script) occupy(args []string) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	s.Check(err)
	s.tb.Cleanup(func() { _ = taken.Close() })
	s.Setenv(args[0], taken.Addr().String())
}
