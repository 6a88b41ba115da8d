// Package slack is an example of a follow-up job. It posts a notice in a Slack
// channel when a signature request ends.
//
//	registry.AddTx(slack.Decide{})
//	worker.AddFollowUp(registry, &slack.Post{DB: env.DB, WebhookURL: url})
//
// A transaction decides whether to post a notice, so that decision happens
// exactly once. The notice itself is posted at least once. Slack's incoming
// webhooks accept no idempotency key, so a crash after Slack's answer and
// before its record in the database causes a second notice. [Schema] creates
// the table.
package slack

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// Schema is the SQL that creates the table.
//
//go:embed schema.sql
var Schema string

// Decide is the job type. It orders one notice for each kind of end of a
// signature request.
type Decide struct {
	worker.Defaults
}

// Kind returns the name of the job type. Never change it: it is stored with
// every run.
func (Decide) Kind() string { return "slack_decide" }

// Events returns the event types that end a signature request.
func (Decide) Events() []lumin.EventType {
	return []lumin.EventType{
		lumin.SignatureRequestApproved, lumin.SignatureRequestDeclined,
		lumin.SignatureRequestCanceled, lumin.SignatureRequestInvalid,
	}
}

// WorkTx inserts a notice and its follow-up job. Both commit together or not at
// all.
func (Decide) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	var id int64
	err := tx.QueryRow(ctx, `
		INSERT INTO slack.notices (event_key, signature_request_id, event_type) VALUES ($1, $2, $3)
		ON CONFLICT (signature_request_id, event_type) DO NOTHING RETURNING id`,
		e.Key.String(), e.SignatureRequestID, e.Type).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // Lumin has already reported this end with another time
	}
	if err != nil {
		return err
	}
	_, err = river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, PostArgs{NoticeID: id}, nil)
	return err
}

// PostArgs identifies a notice. It contains nothing else, because River keeps
// job arguments for days.
type PostArgs struct {
	NoticeID int64 `json:"notice_id"`
}

// Kind returns the name of the follow-up job.
func (PostArgs) Kind() string { return "slack_post" }

// InsertOpts limits the job to 8 attempts. River spreads them over about an
// hour, and a later notice would be old news.
func (PostArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 8, Queue: "slack"}
}

// Post is the follow-up job's worker.
type Post struct {
	river.WorkerDefaults[PostArgs]
	DB         *pgxpool.Pool
	WebhookURL string       // a secret: anyone who has it can post
	Client     *http.Client // nil means http.DefaultClient
}

// Timeout limits each attempt to 10 seconds.
func (*Post) Timeout(*river.Job[PostArgs]) time.Duration { return 10 * time.Second }

// Work posts the notice and records that. It does nothing if the notice is
// already recorded as posted.
func (p *Post) Work(ctx context.Context, job *river.Job[PostArgs]) error {
	text, posted, err := p.compose(ctx, job.Args.NoticeID)
	if err != nil || posted {
		return err
	}
	if err := p.post(ctx, text); err != nil {
		return err
	}
	_, err = p.DB.Exec(ctx, `UPDATE slack.notices SET posted_at = now() WHERE id = $1`, job.Args.NoticeID)
	return err
}

// compose returns the text of a notice. It reads the title from the event's
// body and copies it nowhere else. If the body has been erased, the notice has
// no title.
func (p *Post) compose(ctx context.Context, id int64) (text string, posted bool, err error) {
	var eventType lumin.EventType
	var request string
	var body []byte
	err = p.DB.QueryRow(ctx, `
		SELECT n.event_type, n.signature_request_id, n.posted_at IS NOT NULL,
		       (SELECT e.payload FROM lumin.events e WHERE e.event_key = n.event_key AND e.payload IS NOT NULL LIMIT 1)
		FROM slack.notices n WHERE n.id = $1`, id).Scan(&eventType, &request, &posted, &body)
	if err != nil {
		return "", false, err
	}
	name := "Signature request " + request
	if r, err := lumin.DecodeSignatureRequest(body); err == nil && r.Title != nil {
		name = "“" + *r.Title + "”"
	}
	return escape(name) + " " + verb(eventType) + ".", posted, nil
}

// escape applies Slack's escaping rules for texts, so that a title cannot
// mention @channel or hide a link.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

func verb(t lumin.EventType) string {
	switch t {
	case lumin.SignatureRequestApproved:
		return "has been signed by everyone"
	case lumin.SignatureRequestDeclined:
		return "has been declined"
	case lumin.SignatureRequestCanceled:
		return "has been cancelled"
	default:
		return "could not be processed by Lumin"
	}
}

// post sends a text. Its errors do not contain the URL.
func (p *Post) post(ctx context.Context, text string) error {
	message, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.WebhookURL, bytes.NewReader(message))
	if err != nil {
		return river.JobCancel(errors.New("the webhook URL is invalid"))
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client().Do(request)
	var broken *url.Error
	if errors.As(err, &broken) {
		return fmt.Errorf("post to Slack: %w", broken.Err)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return responseError(response)
}

func (p *Post) client() *http.Client {
	if p.Client != nil {
		return p.Client
	}
	return http.DefaultClient
}

// responseError maps Slack's answer to the result of the job: nil completes it,
// a snooze or a cancel is wrapped, and any other error is retried.
func responseError(response *http.Response) error {
	err := fmt.Errorf("post to Slack: the answer is %d", response.StatusCode)
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", err, river.JobSnooze(retryAfter(response.Header)))
	case status >= 400 && status < 500:
		return river.JobCancel(err) // for example, the webhook was revoked or the channel archived
	default:
		return err
	}
}

// retryAfter returns the wait that Slack requests, in seconds per its
// documentation. The default is a minute and the maximum is an hour.
func retryAfter(header http.Header) time.Duration {
	const usual, longest = time.Minute, time.Hour
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		return usual
	}
	return min(time.Duration(seconds)*time.Second, longest)
}
