package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// Lumin's documented example and its signature by the account's key and by the
// app's.
const (
	documentedBody = `{"event": { "event_time": 1694664207595, "event_type": "signature_request_sent" }, "signature_request": { "signature_request_id": "fa5c8a0b0f492d768749333ad6fcc214c111e967", "title": "My first request" } }`

	documentedSignature = "3810cb411041efab279d31698b9584372e5ede9d1641fbb354810f16e51be81c"
	appSignature        = "f8b6871e7874b32476a5eb838e0982886f62a9da11e840909a226dea9cf0c92b"
)

// The example in Lumin's documentation is what a new user tries first.
func TestDocumentedDelivery(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	i := startInstance(t, url)
	i.waitReady(t)

	first := mustPost(t, i.accountURL(), []byte(documentedBody), documentedSignature)
	if want := fmt.Sprintf(`{"id":%d,"status":"recorded"}`, first.ID); first.code != 200 || first.ID == 0 || strings.TrimSpace(first.body) != want {
		t.Errorf("answered %d %s, want 200 %s", first.code, first.body, want)
	}
	again := mustPost(t, i.accountURL(), []byte(documentedBody), documentedSignature)
	if want := fmt.Sprintf(`{"id":%d,"status":"duplicate"}`, first.ID); again.code != 200 || strings.TrimSpace(again.body) != want {
		t.Errorf("again answered %d %s, want 200 %s", again.code, again.body, want)
	}
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin.events`)
	wantPayload(t, url, first.ID, []byte(documentedBody))
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.runs`) // book_invoice does not subscribe to it
	waitSettled(t, db)

	byApp := mustPost(t, i.appURL(), []byte(documentedBody), appSignature)
	if byApp.code != 200 || byApp.Status != "recorded" || byApp.ID == first.ID {
		t.Errorf("the app's webhook answered %d %s", byApp.code, byApp.body)
	}
	waitSettled(t, db)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.events`)
	wantNumber(t, db, 1, `SELECT count(DISTINCT event_key) FROM lumin.events`)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin.signature_requests WHERE title = 'My first request'`)

	// The metrics count the deliveries.
	_, metrics := get("http://" + i.AdminAddr() + "/metrics")
	for _, want := range []string{
		`lumin_deliveries_total{reason="",result="recorded",source="account"} 1`,
		`lumin_deliveries_total{reason="",result="duplicate",source="account"} 1`,
		`lumin_deliveries_total{reason="",result="recorded",source="app:demo"} 1`,
		`lumin_attempts_total{kind="count_effects",outcome="succeeded"} 1`,
		`lumin_oldest_pending_run_age_seconds 0`, `lumin_record_batch_size_count 3`, `lumin_record_commit_seconds_count 3`,
		`lumin_failed_runs{kind="count_effects"} 0`, `lumin_pending_runs{kind="book_invoice"} 0`, `lumin_build_info{goversion="go`,
		`lumin_http_refused_total{status="400"} 0`, `lumin_body_memory_bytes 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if status, body := get("http://" + i.PublicAddr() + "/healthz"); status != 200 {
		t.Errorf("/healthz answered %d %s", status, body)
	}

	if err := i.stop(); err != nil {
		t.Fatal(err)
	}
	wantLastDeliveries(t, url)
}

// wantLastDeliveries checks that the last delivery of both sources is known
// after a restart.
func wantLastDeliveries(t *testing.T, url string) {
	t.Helper()
	next := startInstance(t, url)
	next.waitReady(t)
	_, metrics := get("http://" + next.AdminAddr() + "/metrics")
	for _, source := range []string{"account", "app:demo"} {
		if !regexp.MustCompile(`lumin_source_last_verified_timestamp_seconds\{source="` + source + `"\} 1\.[0-9]+e\+09\n`).MatchString(metrics) {
			t.Errorf("the last delivery of %s is not known after a restart: %s", source, metrics)
		}
	}
}

// wantPayload compares what "events payload" prints.
func wantPayload(tb testing.TB, url string, id int64, want []byte) {
	tb.Helper()
	if got := command(tb, "events", "payload", fmt.Sprint(id), "--database-url", url); got != string(want) {
		tb.Errorf("the payload of event %d is %.100q, want %.100q", id, got, want)
	}
}

func TestRefusedDeliveries(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	i := startInstance(t, url)
	i.waitReady(t)
	sound := []byte(documentedBody)
	altered := bytes.Replace(sound, []byte("first"), []byte("worst"), 1)

	for _, c := range []struct {
		name       string
		url        string
		body       []byte
		signatures []string
		code       int
		problem    string
	}{
		{"wrong key", i.accountURL(), sound, []string{lumin.Sign(sound, "another key")}, 401, "signature_mismatch"},
		{"key of the other webhook", i.appURL(), sound, []string{documentedSignature}, 401, "signature_mismatch"},
		{"altered byte", i.accountURL(), altered, []string{documentedSignature}, 401, "signature_mismatch"},
		{"newline at the end", i.accountURL(), append(slices.Clone(sound), '\n'), []string{documentedSignature}, 401, "signature_mismatch"},
		{"no header", i.accountURL(), sound, nil, 401, "signature_missing"},
		{"empty header", i.accountURL(), sound, []string{""}, 401, "signature_malformed"},
		{"two headers", i.accountURL(), sound, []string{documentedSignature, documentedSignature}, 401, "signature_malformed"},
		{"63 digits", i.accountURL(), sound, []string{documentedSignature[:63]}, 401, "signature_malformed"},
		{"65 digits", i.accountURL(), sound, []string{documentedSignature + "0"}, 401, "signature_malformed"},
		{"no digits", i.accountURL(), sound, []string{strings.Repeat("g", 64)}, 401, "signature_malformed"},
		{"unknown app", "http://" + i.PublicAddr() + "/webhooks/apps/other", sound, []string{documentedSignature}, 404, "unknown_source"},
		{"unknown path", "http://" + i.PublicAddr() + "/webhooks", sound, []string{documentedSignature}, 404, "not_found"},
		{"1 MiB and a byte", i.accountURL(), make([]byte, 1<<20+1), []string{lumin.Sign(make([]byte, 1<<20+1), sample.AccountKey)}, 413, "body_too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := mustPost(t, c.url, c.body, c.signatures...)
			if r.code != c.code || r.Problem != c.problem || r.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("answered %d %v %s, want %d %s", r.code, r.header, r.body, c.code, c.problem)
			}
			wantNumber(t, connect(t, url), 0, `SELECT count(*) FROM lumin.events`)
		})
	}
	t.Cleanup(func() { // after all sub-tests
		for _, table := range []string{"events", "runs", "redeliveries", "river_job WHERE queue NOT LIKE 'lumin%'"} {
			wantNumber(t, db, 0, `SELECT count(*) FROM lumin.`+table)
		}
	})
}

// A body of 1 MiB is accepted. One more byte is refused, even without a
// Content-Length.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	i := startInstance(t, url)
	i.waitReady(t)
	largest := []byte(`{"event":{"event_time":1694664207595,"event_type":"signature_request_sent"},"signature_request":{"signature_request_id":"large","x":"`)
	largest = append(largest, bytes.Repeat([]byte("x"), 1<<20-len(largest)-3)...)
	largest = append(largest, `"}}`...)

	request, err := http.NewRequest(http.MethodPost, i.accountURL(), io.MultiReader(bytes.NewReader(largest), strings.NewReader("\n")))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(lumin.SignatureHeader, lumin.Sign(append(slices.Clone(largest), '\n'), sample.AccountKey))
	response, err := client.Do(request) // chunked, because its length is not known
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("1 MiB and a byte in chunks: answered %d", response.StatusCode)
	}

	r := mustPost(t, i.accountURL(), largest, lumin.Sign(largest, sample.AccountKey))
	if r.code != 200 || r.Status != "recorded" {
		t.Fatalf("1 MiB: answered %d %s", r.code, r.body)
	}
	wantPayload(t, url, r.ID, largest)
	wantNumber(t, connect(t, url), 1, `SELECT count(*) FROM lumin.events`)
}

// Every authentic body is kept byte for byte. Jobs run only if it has an
// identity.
func TestOddBodies(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	i := startInstance(t, url)
	i.waitReady(t)

	const event = `{"event":{"event_time":1694664207595,"event_type":"signature_request_viewed"},"signature_request":{"signature_request_id":`
	timed := func(id, at string) string {
		return `{"event":{"event_time":` + at + `,"event_type":"signature_request_viewed"},"signature_request":{"signature_request_id":"` + id + `"}}`
	}
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	var listed []int64
	for _, c := range []struct {
		name, body string
		sound      bool
	}{
		{"NUL in the title", event + `"o1","title":"a\u0000b"}}`, true},
		{"NUL in the id", event + `"o2\u0000"}}`, false},
		{"raw NUL in the id", event + "\"o2\x00\"}}", false},
		{"lone surrogate in the title", event + `"o3","title":"\ud800"}}`, true},
		{"lone surrogate in the id", event + `"o4\udc00"}}`, false},
		{"duplicate names elsewhere", event + `"o5","title":"one","title":"two","status":1,"status":"APPROVED"}}`, true},
		{"duplicate id", event + `"o6","signature_request_id":"o6"}}`, false},
		{"id in another case", event + `"o6","Signature_Request_Id":"o6"}}`, true},
		{"nested deeply elsewhere", event + `"o7","title":` + deep + `}}`, true},
		{"nested deeply as the id", event + deep + `}}`, false},
		{"nothing but nesting", deep, false},
		{"time as a string", timed("o8", `"1694664207595"`), true},
		{"time as words", timed("o9", `"yesterday"`), false},
		{"negative time", timed("o10", "-1694664207595"), false},
		{"fractional time", timed("o11", "1694664207595.5"), false},
		{"time beyond int64", timed("o12", "9223372036854775808"), false},
		{"time beyond the year 9999", timed("o13", "253402300800000"), false},
		{"no time", timed("o14", "null"), false},
		{"unknown event type", `{"event":{"event_time":1694664207595,"event_type":"request.paid 💶"},"signature_request":{"signature_request_id":"o15"}}`, true},
		{"everything else of the wrong type", event + `"o16","title":7,"status":[],"created_at":"soon","expires_at":{},"updated_at":1e400,"signers":"none","reason":null},"details_url":false}`, true},
		{"not JSON", "<event/>", false},
		{"not UTF-8", "\xff\xfe\x00\x01", false},
		{"empty", "", false},
		{"two values", event + `"o17"}}{}`, false},
	} {
		r := mustPost(t, i.accountURL(), []byte(c.body), lumin.Sign([]byte(c.body), sample.AccountKey))
		want := "recorded"
		if !c.sound {
			want = "unrecognized"
			listed = append(listed, r.ID)
		}
		if r.code != 200 || r.Status != want {
			t.Errorf("%s: answered %d %s, want 200 %s", c.name, r.code, r.body, want)
			continue
		}
		wantPayload(t, url, r.ID, []byte(c.body))
	}
	wantRunsOfSound(t, db)
	wantUnrecognized(t, url, listed)
}

// wantRunsOfSound checks that exactly the events with an identity have runs, and
// that all runs succeed.
func wantRunsOfSound(t *testing.T, db *pgx.Conn) {
	t.Helper()
	waitSettled(t, db)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.runs WHERE state <> 'succeeded'`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.events e WHERE signature_request_id IS NOT NULL
		AND 2 <> (SELECT count(*) FROM lumin.runs r WHERE r.event_key = e.event_key)`)
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.runs JOIN lumin.events USING (event_key) WHERE signature_request_id IS NULL`)
	wantNumber(t, db, number(t, db, `SELECT count(*) FROM lumin.events WHERE signature_request_id IS NOT NULL`), `SELECT count(*) FROM lumin_test.effects`)
}

// wantUnrecognized compares what "events list --unrecognized" prints.
func wantUnrecognized(t *testing.T, url string, ids []int64) {
	t.Helper()
	var got []string
	for line := range strings.Lines(command(t, "events", "list", "--unrecognized", "--output", "json", "--database-url", url)) {
		got = append(got, line[:strings.Index(line, ",")])
	}
	slices.Reverse(got)
	var want []string
	for _, id := range ids {
		want = append(want, fmt.Sprintf(`{"id":%d`, id))
	}
	if !slices.Equal(got, want) {
		t.Errorf("events list --unrecognized shows %v, want %v", got, want)
	}
}

// The last signature and the approval of a request can share a millisecond.
func TestSameMillisecond(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	i := startInstance(t, url)
	i.waitReady(t)
	at := time.Now()
	for _, eventType := range []lumin.EventType{lumin.SignatureRequestApproved, lumin.SignatureRequestSigned} { // in the wrong order
		b := body(sample.Delivery{EventType: eventType, SignatureRequestID: "same", At: at})
		if r := mustPost(t, i.accountURL(), b, lumin.Sign(b, sample.AccountKey)); r.code != 200 || r.Status != "recorded" {
			t.Errorf("%s: answered %d %s", eventType, r.code, r.body)
		}
	}
	waitSettled(t, db)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.events`)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin_test.effects WHERE job_kind = 'count_effects'`)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin.signature_requests WHERE status = 'APPROVED' AND last_event_type = 'signature_request_approved'`)
}

func TestConcurrentCopies(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	i := startInstance(t, url)
	i.waitReady(t)
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	const copies = 100
	replies := make(chan reply, copies)
	var all sync.WaitGroup
	for range copies {
		all.Go(func() {
			r, err := post(i.accountURL(), b, lumin.Sign(b, sample.AccountKey))
			if err != nil {
				t.Error(err)
			}
			replies <- r
		})
	}
	all.Wait()
	close(replies)
	recorded, ids := 0, map[int64]bool{}
	for r := range replies {
		if r.code != 200 {
			t.Errorf("answered %d %s", r.code, r.body)
		}
		if r.Status == "recorded" {
			recorded++
		}
		ids[r.ID] = true
	}
	if recorded != 1 || len(ids) != 1 {
		t.Errorf("%d were answered as recorded, with the ids %v", recorded, ids)
	}
	waitSettled(t, db)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin.events`)
	wantNumber(t, db, copies-1, `SELECT sum(count)::int FROM lumin.redeliveries`)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`)
	wantNumber(t, db, 2, `SELECT count(*) FROM lumin.river_job WHERE queue IN ('default', 'signature_request_state')`)
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
}

// A stop waits for a delivery in flight, even if that waits for a lock.
func TestStopWithDeliveryInFlight(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := connect(t, url)
	i := startInstance(t, url)
	i.waitReady(t)
	lock := lockEvents(t, url)
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	answered := make(chan reply, 1)
	go func() {
		r, err := post(i.accountURL(), b, lumin.Sign(b, sample.AccountKey))
		if err != nil {
			t.Error(err)
		}
		answered <- r
	}()
	eventually(t, 10*time.Second, "the delivery waits for the lock", func() bool {
		return number(t, db, `SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE NOT granted AND datname = current_database()`) == 1
	})
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	eventually(t, 10*time.Second, "/readyz says that it stops", func() bool {
		status, body := i.ready()
		return status == http.StatusServiceUnavailable && strings.Contains(body, "stopping")
	})
	if err := lock.Rollback(context.Background()); err != nil {
		t.Fatal(err)
	}
	if r := <-answered; r.code != 200 || r.Status != "recorded" {
		t.Errorf("answered %d %s", r.code, r.body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin.events`)
	if _, err := post(i.accountURL(), b); err == nil {
		t.Error("it still listens")
	}
}

// lockEvents blocks every recording until the transaction is rolled back.
func lockEvents(tb testing.TB, url string) pgx.Tx {
	tb.Helper()
	tx, err := connect(tb, url).Begin(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := tx.Exec(context.Background(), `LOCK TABLE lumin.events IN ACCESS EXCLUSIVE MODE`); err != nil {
		tb.Fatal(err)
	}
	return tx
}
