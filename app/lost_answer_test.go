package app

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	apiclient "lumin-ingest/admin/api/client"
	"lumin-ingest/internal/advice"
	"lumin-ingest/store/operate"
)

// losing is a server that loses the first answer to a request with this path, as if it
// had ended before it stored the answer. lost is called before the connection breaks.
func losing(t *testing.T, database, path string, lost func()) string {
	t.Helper()
	target, err := url.Parse(serveAPI(t, database))
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, database)
	var again atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method != http.MethodPost || !strings.HasSuffix(r.Request.URL.Path, path) || again.Swap(true) {
			return nil
		}
		execute(t, conn, `UPDATE lumin.api_orders SET answer = NULL, claimed_until = now()`)
		lost()
		return errors.New("lost")
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	t.Cleanup(func() {
		if !again.Load() {
			t.Errorf("no answer to %s was lost", path)
		}
	})
	return server.URL
}

// A command whose order was sent again says what the lost attempt may have done.
func TestLostAnswerOfServer(t *testing.T) {
	t.Parallel()
	const failAgain = `UPDATE lumin.river_job SET state = 'discarded', attempt = 3, finalized_at = clock_timestamp() WHERE kind = 'send_welcome'`
	for name, test := range map[string]struct {
		args             []string
		path, lost, want string
		sql              string // must be 1
	}{
		// A worker took the job between the two attempts, and it failed again.
		"follow-ups": {
			[]string{"follow-ups", "retry", "--all"}, "/follow-ups/retry", failAgain,
			"nothing to retry: no failed follow-up job matches\nan earlier attempt, whose answer was lost, may have done it\n",
			`SELECT count(*) FROM lumin.river_job WHERE kind = 'send_welcome' AND state = 'discarded'`,
		},
		"dismissal": {
			[]string{"failures", "dismiss", "--all", "--reason", "x", "--yes"}, "/dismissals", "SELECT",
			"0 runs dismissed; \"failures --dismissed\" lists them, \"failures restore\" brings them back\nan earlier attempt, whose answer was lost, may have done it\n",
			`SELECT count(*) FROM lumin.runs WHERE state = 'dismissed'`,
		},
		"cancellation": {
			[]string{"replays", "cancel", "1"}, "/cancel", "SELECT", "replay 1 is cancelled\n",
			`SELECT count(*) FROM lumin.replays WHERE state = 'cancelled'`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := damaged(t).URL()
			conn := connect(t, database)
			execute(t, conn, `INSERT INTO lumin.replays (status, reason, ordered_by) VALUES ('failed', '', 'ann')`)
			execute(t, conn, `INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ('send_welcome', 'follow_up', 'slow')`)
			execute(t, conn, `INSERT INTO lumin.river_job (kind, args, max_attempts, queue, state, attempt, finalized_at) VALUES ('send_welcome', '{}', 3, 'slow', 'discarded', 3, now())`)
			server := losing(t, database, test.path, func() { execute(t, conn, test.lost) })
			var out, errs lines
			code := run(t.Context(), append(test.args, "--server", server), streams{in: strings.NewReader(""), out: &out, err: &errs}, nil)
			if code != 0 || !strings.HasSuffix(out.String(), test.want) {
				t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
			}
			wantNumber(t, conn, 1, test.sql)
		})
	}
}

// What to do about an error comes before what to do about the rest.
func TestAdviceForTheRest(t *testing.T) {
	t.Parallel()
	const rest = "run the command again for the rest: it leaves out the runs that have changed"
	token := advice.Add(errors.New("the token is not accepted"), "name a file by --token-file")
	for name, test := range map[string]struct {
		n    int64
		err  error
		want string
	}{
		"in part":          {5000, token, "name a file by --token-file; then " + rest},
		"nothing":          {0, token, "name a file by --token-file"},
		"in doubt":         {0, fmt.Errorf("%w: %w", operate.ErrInDoubt, token), "name a file by --token-file; then " + rest},
		"in part, unknown": {1, errors.New("it broke"), rest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out lines
			err := reportChanged(streams{out: &out}, &apiclient.Client{}, test.n, "dismissed", test.err)
			if got := advice.Given(err); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// With a server, an erasure names what the server shows, and no table.
func TestEraseAdviceWithServer(t *testing.T) {
	t.Parallel()
	var c eraseCommand
	if got := c.progress(7); got != "SELECT * FROM lumin.erasures WHERE id = 7" {
		t.Error(got)
	}
	c.Server = "https://ingest.example.com/"
	if got := c.progress(7); got != "GET https://ingest.example.com/api/v1/erasures/7" {
		t.Error(got)
	}
	if got := c.orders(); got != `"audit-log --action erase --server https://ingest.example.com/"` {
		t.Error(got)
	}
}
