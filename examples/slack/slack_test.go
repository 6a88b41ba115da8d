package slack_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-examples/slack"
	"lumin-ingest/lumin"
	"lumin-ingest/worker/workertest"
)

// rig is a database and a stand-in for Slack.
type rig struct {
	*workertest.Database
	slack *workertest.Outside
}

func newRig(t *testing.T) rig {
	return rig{workertest.NewDatabase(t, slack.Schema), workertest.NewOutside(t)}
}

func (r rig) post() *slack.Post {
	return &slack.Post{DB: r.Pool, WebhookURL: r.slack.URL + "/services/canary"}
}

func (r rig) run(t *testing.T, event workertest.Event) workertest.Result {
	t.Helper()
	result := r.Run(t, slack.Decide{}, event, workertest.WithFollowUp(r.post()))
	workertest.Succeeded(t, result)
	return result
}

// messages returns the posted messages.
func (r rig) messages() (texts []string) {
	for _, e := range r.slack.Effects() {
		texts = append(texts, e.Method+" "+e.Path+" "+e.Body)
	}
	return texts
}

func TestNotice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	declined := workertest.Event{Type: lumin.SignatureRequestDeclined, Title: "<!channel> Lease & more"}
	result := workertest.Twice(t, r.Database, slack.Decide{}, declined, r.messages, workertest.WithFollowUp(r.post()))
	const want = `POST /services/canary {"text":"“\u0026lt;!channel\u0026gt; Lease \u0026amp; more” has been declined."}`
	if got := r.messages(); len(got) != 1 || got[0] != want {
		t.Errorf("posted %q, want %q", got, want)
	}
	if n := len(result.FollowUps); n != 1 || result.FollowUps[0].Args != `{"notice_id": 1}` && result.FollowUps[0].Args != `{"notice_id": 2}` {
		t.Errorf("follow-up jobs %+v, want one with an id only", result.FollowUps)
	}
}

// Each kind of end is announced once, even if it is reported with different
// times.
func TestNoticePerEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, event := range []workertest.Event{
		{Type: lumin.SignatureRequestCanceled},
		{Type: lumin.SignatureRequestCanceled, Time: time.Unix(1_800_000_000, 0)},
		{Type: lumin.SignatureRequestInvalid},
		{Type: lumin.SignatureRequestApproved},
	} {
		r.run(t, event)
	}
	got := strings.Join(r.messages(), "\n")
	for _, want := range []string{"has been cancelled", "could not be processed", "“Sample agreement” has been signed by everyone"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("%q does not appear exactly once: %s", want, got)
		}
	}
	if strings.Contains(got, "ada@example.com") {
		t.Error("a message contains a signer's address")
	}
}

func TestSlackRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		status  int
		header  []string
		state   string
		snoozes int
		posted  int
	}{
		{"too many requests", 429, []string{"Retry-After", "30"}, "completed", 1, 1},
		{"server error", 503, nil, "completed", 0, 1},
		{"the webhook is revoked", 404, nil, "cancelled", 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.slack.Next(test.status, test.header...)
			f := r.run(t, workertest.Event{}).FollowUps
			if len(f) != 1 || f[0].State != test.state || f[0].Snoozes != test.snoozes || len(r.messages()) != test.posted {
				t.Errorf("%+v, posted %q", f, r.messages())
			}
			for _, text := range f[0].Errors {
				if strings.Contains(text, "canary") {
					t.Errorf("the error shows the webhook: %s", text)
				}
			}
		})
	}
}

// If Slack is unreachable, no error contains the URL, which is a secret.
func TestSlackUnreachable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	post := r.post()
	post.WebhookURL = "http://127.0.0.1:1/services/canary"
	result := r.Run(t, slack.Decide{}, workertest.Event{}, workertest.WithFollowUp(post))
	if f := result.FollowUps[0]; f.State != "discarded" || f.Attempts != 8 || strings.Contains(strings.Join(f.Errors, "\n"), "canary") {
		t.Errorf("%+v", f)
	}
}

// A posted notice is not posted again when its job runs again.
func TestAlreadyPosted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.run(t, workertest.Event{})
	var id int64
	if err := r.Pool.QueryRow(t.Context(), `SELECT id FROM slack.notices WHERE posted_at IS NOT NULL`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := r.post().Work(context.Background(), &river.Job[slack.PostArgs]{Args: slack.PostArgs{NoticeID: id}}); err != nil || r.slack.Requests() != 1 {
		t.Errorf("%v, %d requests", err, r.slack.Requests())
	}
}

// If the body has been erased, the notice has no title.
func TestErased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.slack.Next(404)
	r.run(t, workertest.Event{Title: "canary title"})
	if _, err := r.Pool.Exec(t.Context(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`); err != nil {
		t.Fatal(err)
	}
	var id int64
	if err := r.Pool.QueryRow(t.Context(), `SELECT id FROM slack.notices`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := r.post().Work(t.Context(), &river.Job[slack.PostArgs]{Args: slack.PostArgs{NoticeID: id}}); err != nil {
		t.Fatal(err)
	}
	if got := r.messages(); len(got) != 1 || !strings.Contains(got[0], "Signature request ") || strings.Contains(got[0], "canary title") {
		t.Errorf("posted %q", got)
	}
}
