package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// TestMain also makes the test binary the program itself, with the job types of
// these tests, for the scripts and the tests that kill it.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"lumin-ingest": func() { Main(testJobTypes) },
		"signing-jobs": func() { Main(testJobTypes) }, // as a user's own program
	})
}

// leakChecked fails when the tests leave goroutines behind: of a service that
// has stopped, above all.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	client.CloseIdleConnections()
	err := goleak.Find(
		goleak.IgnoreAnyFunction("lumin-ingest/internal/pgdev.(*run).watch"), // of the server that all tests share
	)
	if err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// What must never be logged. The people are those of package sample.
const (
	accountKey  = "canary_account_key"
	appSecret   = "canary_app_secret"
	bodyToken   = "canary-details-url-token"
	apiKey      = "canary_api_key"
	otherSecret = "canary_password"
)

// leaks lists what of that a text shows.
func leaks(text string) []string {
	return slices.DeleteFunc([]string{
		accountKey, appSecret, bodyToken, apiKey, otherSecret,
		"Ada Example", "ada@example.com", "Sample agreement", "?token=",
		"pgtdbpass", // the password of the databases that pgtest makes
	}, func(canary string) bool { return !strings.Contains(text, canary) })
}

// testJobTypes are two job types beside the built-in ones. TEST_JOBS=stock leaves
// them out: their tables exist only in databases of these tests. Other values
// contain a mistake.
func testJobTypes(_ context.Context, env Env) (*worker.Registry, error) {
	registry := worker.NewRegistry()
	if kind, ok := strings.CutPrefix(os.Getenv("TEST_JOBS"), "like-"); ok {
		registry.AddTx(likeBuiltIn{kind: kind})
		return registry, nil
	}
	switch os.Getenv("TEST_JOBS") {
	case "stock":
		return registry, nil
	case "unmade":
		return nil, errors.New("no bucket of that name")
	case "twice":
		registry.AddTx(countEffects{})
	case "unnamed":
		registry.AddTx(unnamed{})
	case "unconfigured":
		registry.Add(ofApp{})
	case "crashing":
		registry.Add(crashing{})
	case "gated":
		return gatedJobTypes(env), nil
	case "plain":
		registry.Add(plainEffects{})
		return registry, nil
	}
	registry.AddTx(countEffects{})
	if os.Getenv("TEST_JOBS") == "ordered" {
		registry.AddOrdered(bookInvoice{})
	} else {
		registry.AddTx(bookInvoice{})
	}
	return registry, nil
}

// unnamed has no kind.
type unnamed struct{ countEffects }

func (unnamed) Kind() string { return "" }

// likeBuiltIn has the kind of a built-in job type.
type likeBuiltIn struct {
	countEffects
	kind string
}

func (l likeBuiltIn) Kind() string { return l.kind }

// plainEffects has the kind of countEffects and works in another way.
type plainEffects struct{ worker.Defaults }

func (plainEffects) Kind() string                              { return countEffects{}.Kind() }
func (plainEffects) Events() []lumin.EventType                 { return []lumin.EventType{lumin.AnyEvent} }
func (plainEffects) Work(context.Context, *worker.Event) error { return nil }

// ofApp waits for the webhook of an app.
type ofApp struct{ plainEffects }

func (ofApp) Kind() string      { return "of_app" }
func (ofApp) Sources() []string { return []string{"app:crm"} }

// crashing prints, and takes the whole program down with a goroutine of its own.
type crashing struct{ plainEffects }

func (crashing) Kind() string { return "crashing" }
func (crashing) Work(context.Context, *worker.Event) error {
	fmt.Println("crashing")
	go func() { panic("boom") }()
	select {}
}

// countEffects writes a row for each event it is called for.
type countEffects struct{ worker.Defaults }

func (countEffects) Kind() string              { return "count_effects" }
func (countEffects) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

func (countEffects) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO lumin_test.effects (event_key, job_kind) VALUES ($1, 'count_effects')`, e.Key.String())
	return err
}

// bookInvoice fails at once as long as lumin_test.broken has a row, with an error
// that shows what it should not.
type bookInvoice struct{ worker.Defaults }

func (bookInvoice) Kind() string { return "book_invoice" }
func (bookInvoice) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}
func (bookInvoice) MaxAttempts() int { return 1 }

func (bookInvoice) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO lumin_test.effects (event_key, job_kind) VALUES ($1, 'book_invoice')`, e.Key.String())
	if err != nil {
		return err
	}
	var broken bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lumin_test.broken)`).Scan(&broken); err != nil {
		return err
	}
	if broken {
		return fmt.Errorf("no invoice for ada@example.com: GET https://sign.example.com/x?token=%s: 500", bodyToken)
	}
	return nil
}

// newDatabase is a migrated database with the tables of the test job types.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	url := pgtest.New(tb)
	prepareTestJobs(tb, url)
	return url
}

func prepareTestJobs(tb testing.TB, url string) {
	tb.Helper()
	conn := connect(tb, url)
	_, err := conn.Exec(context.Background(), `
		CREATE SCHEMA lumin_test;
		CREATE TABLE lumin_test.effects (event_key uuid NOT NULL, job_kind text NOT NULL);
		CREATE TABLE lumin_test.broken (reason text)`)
	if err != nil {
		tb.Fatal(err)
	}
}

func connect(tb testing.TB, url string) *pgx.Conn {
	tb.Helper()
	return pgtest.Conn(tb, url)
}

// number is the result of a query for one number.
func number(tb testing.TB, conn *pgx.Conn, sql string, args ...any) (n int) {
	tb.Helper()
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return n
}

func wantNumber(tb testing.TB, conn *pgx.Conn, want int, sql string, args ...any) {
	tb.Helper()
	if got := number(tb, conn, sql, args...); got != want {
		tb.Errorf("%s: %d, want %d", sql, got, want)
	}
}

// eventually polls a condition until it holds.
func eventually(tb testing.TB, within time.Duration, what string, condition func() bool) {
	tb.Helper()
	wait.Within(tb, within, what, condition)
}

// settledRuns waits until no run and no replay is under way.
func waitSettled(tb testing.TB, conn *pgx.Conn) {
	tb.Helper()
	eventually(tb, 30*time.Second, "all runs and replays are settled", func() bool {
		return number(tb, conn, `SELECT (SELECT count(*) FROM lumin.runs WHERE state = 'pending')
		    + (SELECT count(*) FROM lumin.replays WHERE finished_at IS NULL)`) == 0
	})
}

// client is that of all tests. It waits a little longer than Lumin does.
var client = &http.Client{Timeout: 31 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

// reply is what came back for a delivery.
type reply struct {
	code   int
	header http.Header
	body   string

	ID      int64
	Status  any    // a word in a receipt, a number in a problem
	Problem string `json:"code"`
}

// post delivers a body. It returns an error only when there was no answer.
func post(url string, body []byte, signatures ...string) (reply, error) {
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header[lumin.SignatureHeader] = signatures
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{code: response.StatusCode, header: response.Header, body: string(content)}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("answered %d with %q: %w", r.code, content, err)
	}
	return r, nil
}

func mustPost(tb testing.TB, url string, body []byte, signatures ...string) reply {
	tb.Helper()
	r, err := post(url, body, signatures...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// get returns the status and the body of an answer; 0 when there was none.
func get(url string) (int, string) {
	response, err := client.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// body is one of package sample, whose token is a canary.
func body(d sample.Delivery) []byte {
	d.Token = bodyToken
	return d.Body()
}

// lines collects what is printed.
type lines struct{ testlog.Buffer }

// logged returns the first entry of a JSON log with this message, or nil.
func (l *lines) logged(message string) map[string]any {
	return l.First(message)
}
