// Package slack is an example of a follow-up job: a notice in a Slack channel when a
// signature request has come to its end.
//
//	registry.AddTx(slack.Decide{})
//	worker.AddFollowUp(registry, &slack.Post{DB: env.DB, WebhookURL: url})
//
// Whether there is to be a notice is decided in a transaction, and so exactly once. The
// notice itself is at least once: an incoming webhook of Slack takes no idempotency
// key, so a crash between Slack's answer and the note of it makes a second one. [Schema]
// makes the table.
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
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Schema is the SQL that makes the table.
//
//go:embed schema.sql
var Schema string

// Decide is the job type: one notice for each end of a signature request.
type Decide struct {
	worker.Defaults
}

// Kind implements worker.JobType.
func (Decide) Kind() string { return "slack_decide" }

// Events implements worker.JobType.
func (Decide) Events() []lumin.EventType {
	return []lumin.EventType{
		lumin.SignatureRequestApproved, lumin.SignatureRequestDeclined,
		lumin.SignatureRequestCanceled, lumin.SignatureRequestInvalid,
	}
}

// WorkTx implements worker.Transactional. The row and the job are there together, or
// neither is.
func (Decide) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
	var id int64
	err := tx.QueryRow(ctx, `
		INSERT INTO slack.notices (event_key, signature_request_id, event_type) VALUES ($1, $2, $3)
		ON CONFLICT (signature_request_id, event_type) DO NOTHING RETURNING id`,
		e.Key.String(), e.SignatureRequestID, e.Type).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // Lumin has reported it under another time, too
	}
	if err != nil {
		return err
	}
	_, err = river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, PostArgs{NoticeID: id}, nil)
	return err
}

// PostArgs name a notice. River keeps them for days, so they hold nothing else.
type PostArgs struct {
	NoticeID int64 `json:"notice_id"`
}

// Kind implements river.JobArgs.
func (PostArgs) Kind() string { return "slack_post" }

// InsertOpts implements river.JobArgsWithInsertOpts: 8 attempts take River an hour or
// so, and then the news are old.
func (PostArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{MaxAttempts: 8, Queue: "slack"}
}

// Post is the follow-up job's worker.
type Post struct {
	river.WorkerDefaults[PostArgs]
	DB         *pgxpool.Pool
	WebhookURL string // a secret: whoever has it can post
	Client     *http.Client
}

// Timeout implements river.Worker.
func (*Post) Timeout(*river.Job[PostArgs]) time.Duration { return 10 * time.Second }

// Work implements river.Worker.
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

// compose reads what to say. The title is read from the event's body when it is needed,
// and copied nowhere: once it has been erased the notice goes without.
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

// escape is what Slack asks for in texts: a title must not call @channel or hide a link.
func escape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

func verb(t lumin.EventType) string {
	switch t {
	case lumin.SignatureRequestApproved:
		return "has been signed by all"
	case lumin.SignatureRequestDeclined:
		return "has been declined"
	case lumin.SignatureRequestCanceled:
		return "has been cancelled"
	default:
		return "could not be processed by Lumin"
	}
}

// post sends a text. Errors do not hold the URL.
func (p *Post) post(ctx context.Context, text string) error {
	message, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.WebhookURL, bytes.NewReader(message))
	if err != nil {
		return river.JobCancel(errors.New("the webhook URL is none"))
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
	return judge(response)
}

func (p *Post) client() *http.Client {
	if p.Client != nil {
		return p.Client
	}
	return http.DefaultClient
}

// judge makes of Slack's answer what becomes of the job.
func judge(response *http.Response) error {
	err := fmt.Errorf("post to Slack: it answered %d", response.StatusCode)
	switch status := response.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", err, river.JobSnooze(retryAfter(response.Header)))
	case status >= 400 && status < 500:
		return river.JobCancel(err) // the webhook was revoked, the channel archived
	default:
		return err
	}
}

// retryAfter is how long Slack wants to be left alone: seconds, by its documentation.
func retryAfter(header http.Header) time.Duration {
	const usual, longest = time.Minute, time.Hour
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		return usual
	}
	return min(time.Duration(seconds)*time.Second, longest)
}
