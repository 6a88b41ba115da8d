package forward

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doyensec/safeurl"
	"github.com/riverqueue/river"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/retrylater"
)

// SourceHeader names the source of a forwarded event: account, app:NAME or
// recovered. From it the receiver knows which of Lumin's secrets verifies
// X-Signature. A recovered event has no X-Signature. The header itself is not
// signed.
const SourceHeader = "X-Lumin-Source"

// JobType is forward_NAME, the job type of one target. The package
// documentation has its guarantees.
type JobType struct {
	worker.Defaults
	name    string
	url     *url.URL
	events  []lumin.EventType
	refuses bool // recovered events
	limited bool // connects only to allowed networks
	signers []*standardwebhooks.Webhook
	client  *safeurl.WrappedClient
	now     func() time.Time
}

// New returns the job type for one target. It returns an error if the
// target is invalid. Errors quote neither the secrets nor the URL.
func New(target Target) (*JobType, error) {
	u, signers, err := target.checked()
	if err != nil {
		return nil, err
	}
	client, err := newClient(u, target.AllowNetworks)
	if err != nil {
		return nil, fmt.Errorf("forward to %s: %w", target.Name, err)
	}
	events := slices.Clone(target.Events)
	if len(events) == 0 {
		events = []lumin.EventType{lumin.AnyEvent}
	}
	return &JobType{
		name: target.Name, url: u, events: events, limited: len(target.AllowNetworks) > 0,
		refuses: target.RefuseRecovered, signers: signers, client: client, now: time.Now,
	}, nil
}

// Kind implements worker.JobType.
func (f *JobType) Kind() string { return "forward_" + f.name }

// Queue implements worker.JobType.
func (f *JobType) Queue() string { return f.Kind() }

// Events implements worker.JobType.
func (f *JobType) Events() []lumin.EventType { return slices.Clone(f.events) }

// Recovered implements worker.JobType.
func (f *JobType) Recovered() bool { return !f.refuses }

// Timeout returns 30 seconds, as long as Lumin itself waits for a response.
func (*JobType) Timeout() time.Duration { return 30 * time.Second }

const (
	// Reading a response lets its connection be reused. maxAnswer and
	// answerTime limit how much is read, and for how long.
	maxAnswer  = 64 << 10
	answerTime = 2 * time.Second
)

// Work implements worker.Plain.
func (f *JobType) Work(ctx context.Context, e *worker.Event) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	req, err := f.request(reading, e)
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return f.noAnswer(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols { // after 101, reading ignores the context
		defer time.AfterFunc(answerTime, stop).Stop()
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // only the status matters
	}
	return f.verdict(resp.StatusCode, resp.Header, e.ReceivedAt)
}

// request returns the signed request for an event.
func (f *JobType) request(ctx context.Context, e *worker.Event) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url.String(), bytes.NewReader(e.Payload))
	if err != nil {
		return nil, fmt.Errorf("forward to %s: its URL does not form a valid request", f.name) // err quotes the URL
	}
	id, at := e.IdempotencyKey(), f.now()
	signature, err := f.sign(id, at, e.Payload)
	if err != nil {
		return nil, fmt.Errorf("forward to %s: sign: %w", f.name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "lumin-ingest")
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	if len(e.Signature) > 0 { // a recovered event has none
		req.Header.Set(lumin.SignatureHeader, hex.EncodeToString(e.Signature))
	}
	req.Header.Set(SourceHeader, e.Source)
	return req, nil
}

// sign signs with every secret. The receiver accepts the request if one of the
// signatures is from a secret that it knows.
func (f *JobType) sign(id string, at time.Time, payload []byte) (string, error) {
	signatures := make([]string, 0, len(f.signers))
	for _, signer := range f.signers {
		signature, err := signer.Sign(id, at, payload)
		if err != nil {
			return "", err
		}
		signatures = append(signatures, signature)
	}
	return strings.Join(signatures, " "), nil
}

// noAnswer returns the error of an attempt without a response. It does not wrap
// the client's error, which quotes the URL and may quote bytes from the
// receiver.
func (f *JobType) noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("forward to %s: no response in time: %w", f.name, ctx.Err())
	}
	address, refused := refusedAddress(err)
	switch {
	case refused && f.limited:
		return fmt.Errorf("forward to %s: its host resolves to %s, which is outside its allowed networks: "+
			"if this is intended, add the network to AllowNetworks (FORWARD_ALLOW_NETWORKS)", f.name, address)
	case refused:
		return fmt.Errorf("forward to %s: its host resolves to %s, which is not public: "+
			"if this is intended, add the network to AllowNetworks (FORWARD_ALLOW_NETWORKS)", f.name, address)
	}
	return fmt.Errorf("forward to %s: no response: %s", f.name, describeNoAnswer(err))
}

// verdict returns nil if the status is a success. Otherwise it returns an error
// that decides whether the job is cancelled, snoozed, failed or retried.
func (f *JobType) verdict(status int, header http.Header, receivedAt time.Time) error {
	if status >= 200 && status <= 299 {
		return nil
	}
	err := fmt.Errorf("forward to %s: it answered %d %s", f.name, status, http.StatusText(status))
	switch {
	case status >= 300 && status <= 399:
		return fmt.Errorf("%w, and redirects are not followed: set the URL to its destination (FORWARD_URLS)", err)
	case status == http.StatusGone:
		return river.JobCancel(err)
	case retrylater.Requested(status):
		now := f.now()
		delay, ok := retrylater.Delay(lumin.RetryAfter(header.Get("Retry-After"), now), now.Sub(receivedAt))
		if !ok {
			return err
		}
		return retrylater.Snooze(err, delay)
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return err
	case status >= 400 && status <= 499:
		return worker.JobFail(err)
	default:
		return err
	}
}
