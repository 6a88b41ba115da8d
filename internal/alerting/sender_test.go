package alerting_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"lumin-ingest/internal/alerting"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store/alerts"
)

// receiver is a webhook that keeps what it accepts.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	messages []string
	answer   int // 0 means 200
	calls    int
	hang     chan struct{} // if not nil, answers wait for its end
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.calls++
		answer, hang := r.answer, r.hang
		if answer == 0 && hang == nil {
			r.messages = append(r.messages, q.Header.Get("Content-Type")+" "+string(body))
		}
		r.mu.Unlock()
		if hang != nil {
			select {
			case <-hang:
			case <-q.Context().Done():
			}
		}
		if answer != 0 {
			w.WriteHeader(answer)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(answer int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) got() (messages []string, calls int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(messages, r.messages...), r.calls
}

const secretPath = "/services/T0/B0/verysecret"

func settings(r *receiver) alerting.Settings {
	return alerting.Settings{URL: r.URL + secretPath, Format: alerting.Slack, Name: "lumin-ingest", AdminURL: "https://admin.example.com"}
}

// start starts a sender with quick rounds.
func start(t *testing.T, url string, s alerting.Settings) (*alerting.Sender, *testlog.Buffer) {
	t.Helper()
	log := &testlog.Buffer{}
	sender := alerting.Start(alerting.Config{
		Settings: s, Pool: pgtest.Pool(t, url), Logger: slog.New(slog.NewJSONHandler(log, nil)), Every: 50 * time.Millisecond,
	})
	stop := sync.OnceFunc(sender.Stop)
	t.Cleanup(func() {
		stop()
		if strings.Contains(log.String(), "verysecret") {
			t.Errorf("the log shows the URL: %s", log)
		}
	})
	return sender, log
}

// stuck makes the condition workers hold.
func stuck(t *testing.T, url, queue string) {
	t.Helper()
	pgtest.Exec(t, pgtest.Conn(t, url), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds, stuck)
		SELECT gen_random_uuid(), 'h', count(*) + 1, 'ingest', '{}', ARRAY[$1::text] FROM lumin.programs`, queue)
}

// Several programs send one message, and a second message for a second alert.
func TestOneSends(t *testing.T) {
	t.Parallel()
	url, r := pgtest.New(t), newReceiver(t)
	conn := pgtest.Conn(t, url)
	stuck(t, url, "queue <!channel> & co")
	first, _ := start(t, url, settings(r))
	for range 3 {
		start(t, url, settings(r))
	}
	wait.Until(t, "a message is sent", func() bool {
		return pgtest.Value[bool](t, conn, `SELECT EXISTS (SELECT FROM lumin.alerts WHERE sent_at IS NOT NULL)`)
	})
	first.Stop() // another takes over at once
	stuck(t, url, "queue b")
	wait.Until(t, "another message arrives", func() bool { messages, _ := r.got(); return len(messages) > 1 })
	looked := pgtest.Value[time.Time](t, conn, `SELECT looked_at FROM lumin.alert_sending`)
	wait.Until(t, "some rounds pass", func() bool {
		return pgtest.Value[time.Time](t, conn, `SELECT looked_at FROM lumin.alert_sending`).Sub(looked) > 500*time.Millisecond
	})
	messages, calls := r.got()
	if len(messages) != 2 || calls != 2 {
		t.Fatalf("%d messages in %d calls: %q", len(messages), calls, messages)
	}
	for i, want := range []string{
		`application/json {"text":"lumin-ingest: 1 alert\n• queue \u0026lt;!channel\u0026gt; \u0026amp; co (host h, process 1). Restart that program, which loses nothing.\n  https://admin.example.com/programs\n"}`,
		`application/json {"text":"lumin-ingest: 1 alert\n• queue b (host h, process 2). Restart that program, which loses nothing.\n  https://admin.example.com/programs\n"}`,
	} {
		if messages[i] != want {
			t.Errorf("%s, want %s", messages[i], want)
		}
	}
}

// While the webhook refuses, nothing is lost; what ends meanwhile is not sent.
func TestWebhookDown(t *testing.T) {
	t.Parallel()
	url, r := pgtest.New(t), newReceiver(t)
	conn := pgtest.Conn(t, url)
	r.set(http.StatusServiceUnavailable)
	stuck(t, url, "queue a")
	stuck(t, url, "queue b")
	sender, log := start(t, url, settings(r))
	wait.Until(t, "a message is refused", func() bool { _, calls := r.got(); return calls > 0 })
	wait.Until(t, "that is logged", func() bool { return log.First("cannot send alerts; the program goes on") != nil })
	if line := log.First("cannot send alerts; the program goes on"); line["error"] != "the webhook answered 503 Service Unavailable" {
		t.Errorf("%v", line)
	}
	pgtest.Exec(t, conn, `DELETE FROM lumin.programs WHERE pid = 1`)
	wait.Until(t, "the end of one is found", func() bool {
		return pgtest.Value[bool](t, conn, `SELECT bool_or(resolved_sent_at IS NOT NULL) FROM lumin.alerts`)
	})
	// A program that takes over does not call at once.
	sender.Stop()
	start(t, url, settings(r))
	looked := pgtest.Value[time.Time](t, conn, `SELECT max(seen_at) FROM lumin.alerts`)
	wait.Until(t, "some rounds pass", func() bool {
		return pgtest.Value[time.Time](t, conn, `SELECT max(seen_at) FROM lumin.alerts`).Sub(looked) > 300*time.Millisecond
	})
	if _, calls := r.got(); calls != 1 {
		t.Errorf("%d calls during the pause", calls)
	}
	r.set(0)
	pgtest.Exec(t, conn, `UPDATE lumin.alert_sending SET next_at = now()`)
	wait.Until(t, "a message arrives", func() bool { messages, _ := r.got(); return len(messages) > 0 })
	if messages, _ := r.got(); !strings.Contains(messages[0], "queue b") || strings.Contains(messages[0], "queue a") {
		t.Errorf("%q", messages)
	}
}

// A program that does not reach the webhook leaves the sending to one that does.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	url, wrong, right := pgtest.New(t), newReceiver(t), newReceiver(t)
	conn := pgtest.Conn(t, url)
	wrong.set(http.StatusNotFound)
	stuck(t, url, "queue a")
	start(t, url, settings(wrong))
	wait.Until(t, "it has tried", func() bool { _, calls := wrong.got(); return calls > 0 })
	start(t, url, settings(right))
	wait.Until(t, "the other program sends", func() bool {
		pgtest.Exec(t, conn, `UPDATE lumin.alert_sending SET next_at = now()`) // no pause
		messages, _ := right.got()
		return len(messages) > 0
	})
	if _, calls := wrong.got(); calls > 30 { // 3 in each turn; on a busy machine it may have several
		t.Errorf("%d calls before that", calls)
	}
}

// What cannot be examined does not keep a program's own alert from being stored, and
// ends no alert.
func TestUnexamined(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Conn(t, url)
	pgtest.Exec(t, conn, `ALTER TABLE lumin.delivery_hours RENAME TO elsewhere`)
	pgtest.Exec(t, conn, `INSERT INTO lumin.alerts (key, condition, text) VALUES ('mismatch/account', 'mismatch', '')`)
	log := &testlog.Buffer{}
	sender := alerting.Start(alerting.Config{
		Pool: pgtest.Pool(t, url), Logger: slog.New(slog.NewJSONHandler(log, nil)), Every: 20 * time.Millisecond,
		Own: func() ([]alerts.Alert, []string) { return []alerts.Alert{{Key: "certificate/h", Text: "x"}}, nil },
	})
	defer sender.Stop()
	wait.Until(t, "that is logged", func() bool {
		return log.First("cannot examine the condition mismatch; the program goes on") != nil
	})
	wait.Until(t, "its own alert is found twice", func() bool {
		return pgtest.Value[bool](t, conn, `SELECT EXISTS (SELECT FROM lumin.alerts WHERE seen_at > since AND condition = 'certificate')`)
	})
	if !pgtest.Value[bool](t, conn, `SELECT resolved_at IS NULL FROM lumin.alerts WHERE condition = 'mismatch'`) {
		t.Error("the other alert has ended")
	}
}

// A webhook that does not answer stops neither the sender nor another program, and
// holds no lock for long.
func TestWebhookHangs(t *testing.T) {
	t.Parallel()
	url, r := pgtest.New(t), newReceiver(t)
	r.hang = make(chan struct{})
	stuck(t, url, "queue a")
	sender, _ := start(t, url, settings(r))
	wait.Until(t, "it is called", func() bool { _, calls := r.got(); return calls > 0 })
	start(t, url, settings(r))
	began := time.Now()
	sender.Stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
	wait.Until(t, "another program tries", func() bool { _, calls := r.got(); return calls > 1 })
	close(r.hang)
}

// Without a webhook, one program examines and stores, and sends nothing. One with a
// webhook takes over at once.
func TestWithoutWebhook(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	conn := pgtest.Conn(t, url)
	stuck(t, url, "queue a")
	for range 2 {
		sender := alerting.Start(alerting.Config{
			Pool: pgtest.Pool(t, url), Logger: slog.New(slog.DiscardHandler), Every: 20 * time.Millisecond,
			Own: func() ([]alerts.Alert, []string) { return []alerts.Alert{{Key: "certificate/h", Text: "x"}}, nil },
		})
		defer sender.Stop()
	}
	wait.Until(t, "both alerts are there twice", func() bool {
		return pgtest.Value[int](t, conn, `SELECT count(*) FROM lumin.alerts WHERE seen_at > since AND condition IN ('certificate', 'workers')`) == 2
	})
	if pgtest.Value[bool](t, conn, `SELECT EXISTS (SELECT FROM lumin.alert_sending WHERE looked_at IS NOT NULL OR held_until > now())`) {
		t.Error("a program without a webhook looks as if it sent")
	}
	r := newReceiver(t)
	start(t, url, settings(r))
	wait.Until(t, "a message arrives", func() bool { messages, _ := r.got(); return len(messages) > 0 })
}

// A program that only receives sends while no program runs jobs, and leaves it to one
// that does at once.
func TestReceiveOnly(t *testing.T) {
	t.Parallel()
	url, r := pgtest.New(t), newReceiver(t)
	conn := pgtest.Conn(t, url)
	pgtest.Exec(t, conn, `INSERT INTO lumin.delivery_hours VALUES (date_trunc('hour', now()), 'account', 'refused', 'signature_mismatch', 10, 0, '{}')`)
	sender := alerting.Start(alerting.Config{
		Settings: settings(r), ReceiveOnly: true, Pool: pgtest.Pool(t, url), Logger: slog.New(slog.DiscardHandler), Every: 50 * time.Millisecond,
		Own: func() ([]alerts.Alert, []string) { return []alerts.Alert{{Key: "certificate/h", Text: "x"}}, nil },
	})
	defer sender.Stop()
	wait.Until(t, "it sends what it knows", func() bool { messages, _ := r.got(); return len(messages) > 0 })
	if messages, _ := r.got(); !strings.Contains(messages[0], "signatures of source account match no configured key") {
		t.Errorf("%q", messages)
	}
	pgtest.Exec(t, conn, `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'h', 1, 'worker', '{}')`)
	wait.Until(t, "it lets the other program examine", func() bool {
		return pgtest.Value[bool](t, conn, `SELECT held_until = '-infinity' FROM lumin.alert_sending`)
	})
}

// Every format says the same. A URL and an answer are in no error.
func TestPost(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	over := at.Add(3 * time.Hour)
	m := alerts.Message{
		Raised: []alerts.Open{
			{Alert: alerts.Alert{Key: "lane/book", Text: "book is held", Page: "/lanes"}, Since: at},
			{Alert: alerts.Alert{Key: "connections", Text: "too few"}, Since: at, SentAt: &over},
		},
		Resolved: []alerts.Open{{Alert: alerts.Alert{Key: "silence/account", Text: "no event"}, Since: at, ResolvedAt: &over}},
	}
	const text = "lumin-ingest: 2 alerts, 1 resolved\n• book is held\n  https://admin.example.com/lanes\n" +
		"• still so, since 2026-01-02 03:04 UTC: too few\n  https://admin.example.com\nResolved:\n• after 3h0m0s: no event\n  https://admin.example.com\n"
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for format, want := range map[alerting.Format]string{
		alerting.Slack: `application/json {"text":` + string(quoted) + `}`,
		alerting.Text:  "text/plain; charset=utf-8 " + text,
		alerting.JSON: `application/json {"text":` + string(quoted) + `,"alerts":[` +
			`{"key":"lane/book","condition":"lane","status":"raised","text":"book is held","url":"https://admin.example.com/lanes","since":"2026-01-02T03:04:05Z"},` +
			`{"key":"connections","condition":"connections","status":"raised","text":"too few","url":"https://admin.example.com","since":"2026-01-02T03:04:05Z"},` +
			`{"key":"silence/account","condition":"silence","status":"resolved","text":"no event","url":"https://admin.example.com","since":"2026-01-02T03:04:05Z","resolved_at":"2026-01-02T06:04:05Z"}]}`,
	} {
		s := settings(r)
		s.Format = format
		if err := s.Post(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if messages, _ := r.got(); messages[len(messages)-1] != want {
			t.Errorf("%s: %s\nwant %s", format, messages[len(messages)-1], want)
		}
	}
	r.set(http.StatusFound) // a redirect is not followed
	if err := settings(r).Post(t.Context(), m); err == nil || err.Error() != "the webhook answered 302 Found" {
		t.Error(err)
	}
	r.Close()
	if err := settings(r).Post(t.Context(), m); err == nil || strings.Contains(err.Error(), "secret") { // "refused", unless another test has the port by now
		t.Error(err)
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"https://hooks.slack.com/services/a/b": true, "http://127.0.0.1:9/x": true,
		"hooks.slack.com/services": false, "https://": false, "https://:80/": false, "ftp://a/b": false, "https://a/b c": false, "%": false,
	} {
		if err := alerting.CheckURL(url); (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
}
