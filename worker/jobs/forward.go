package jobs

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
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// SourceHeader names the source of a forwarded event: account, or app:NAME. It tells
// the receiver which of Lumin's secrets verifies X-Signature, and is not signed.
const SourceHeader = "X-Lumin-Source"

// Forward posts events to one target: the bytes that Lumin signed, without any change,
// at least once per event and in no particular order. It fetches nothing that a body
// names.
//
// Each request is signed as Standard Webhooks has it, with webhook-id,
// webhook-timestamp and webhook-signature. The webhook-id is
// [store.Event.IdempotencyKey]: the same for every attempt, and another one for each
// target. X-Signature is Lumin's own signature of the bytes, in lower-case hexadecimal.
//
// What the target answers decides what becomes of the run:
//
//   - 2xx: it succeeds. Nobody reads the body.
//   - 410: it is cancelled.
//   - 429 and 503: it is put off without counting an attempt, by Retry-After, from a
//     second to an hour, or by a minute if the answer has none; but once the event was
//     received more than a day ago, they count like 5xx.
//   - 408, 425, 5xx, a redirect, which is not followed, or no answer within 30
//     seconds: it is tried again after Backoff.
//   - Any other 4xx: it fails at once, and can be replayed.
//
// Connections are made to public addresses only, or only to those that
// [ForwardTarget] allows, whatever a name resolves to, and never over a proxy.
//
// Each target has a kind and a queue of its own, both forward_NAME, so that a slow one
// holds up no other.
type Forward struct {
	worker.Defaults
	name    string
	url     *url.URL
	events  []lumin.EventType
	limited bool // to the allowed networks
	signers []*standardwebhooks.Webhook
	client  *safeurl.WrappedClient
	now     func() time.Time
}

// NewForward returns the job type for one target. It refuses what cannot be forwarded
// to, without quoting secrets or the URL.
func NewForward(target ForwardTarget) (*Forward, error) {
	u, signers, err := target.checked()
	if err != nil {
		return nil, err
	}
	client, err := newForwardClient(u, target.AllowNetworks)
	if err != nil {
		return nil, fmt.Errorf("forward to %s: %w", target.Name, err)
	}
	events := slices.Clone(target.Events)
	if len(events) == 0 {
		events = []lumin.EventType{lumin.AnyEvent}
	}
	return &Forward{
		name: target.Name, url: u, events: events, limited: len(target.AllowNetworks) > 0,
		signers: signers, client: client, now: time.Now,
	}, nil
}

// Kind implements worker.JobType.
func (f *Forward) Kind() string { return "forward_" + f.name }

// Queue implements worker.JobType.
func (f *Forward) Queue() string { return f.Kind() }

// Events implements worker.JobType.
func (f *Forward) Events() []lumin.EventType { return slices.Clone(f.events) }

// Timeout is 30 seconds, as long as Lumin itself waits for an answer.
func (*Forward) Timeout() time.Duration { return 30 * time.Second }

const (
	// maxAnswer and answerTime bound what is read of an answer, so that its
	// connection can be used again.
	maxAnswer  = 64 << 10
	answerTime = 2 * time.Second
)

// Work implements worker.Plain.
func (f *Forward) Work(ctx context.Context, e *store.Event) error {
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
	if resp.StatusCode != http.StatusSwitchingProtocols { // after that, reading heeds no context
		defer time.AfterFunc(answerTime, stop).Stop()
		_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the status has been given, whatever becomes of the body
	}
	return f.verdict(resp.StatusCode, resp.Header, e.ReceivedAt)
}

// request is the signed request for an event.
func (f *Forward) request(ctx context.Context, e *store.Event) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url.String(), bytes.NewReader(e.Payload))
	if err != nil {
		return nil, fmt.Errorf("forward to %s: no request can be made of its URL", f.name) // err quotes it
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
	req.Header.Set(lumin.SignatureHeader, hex.EncodeToString(e.Signature))
	req.Header.Set(SourceHeader, e.Source)
	return req, nil
}

// sign signs with every secret; the receiver takes what any of its own has signed.
func (f *Forward) sign(id string, at time.Time, payload []byte) (string, error) {
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

// noAnswer is the error of an attempt without an answer. That of the client is not
// wrapped: it quotes the URL, and may quote what the receiver sent.
func (f *Forward) noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("forward to %s: no answer in time: %w", f.name, ctx.Err())
	}
	address, refused := refusedAddress(err)
	switch {
	case refused && f.limited:
		return fmt.Errorf("forward to %s: its host resolves to %s, which is in none of its allowed networks: "+
			"if that is right, add the network to AllowNetworks (FORWARD_ALLOW_NETWORKS)", f.name, address)
	case refused:
		return fmt.Errorf("forward to %s: its host resolves to %s, which is not public: "+
			"if that is right, name the network in AllowNetworks (FORWARD_ALLOW_NETWORKS)", f.name, address)
	}
	return fmt.Errorf("forward to %s: no answer: %s", f.name, whyNoAnswer(err))
}

// maxPutOff is how long after its reception an event may still be put off.
const maxPutOff = 24 * time.Hour

// verdict is what an answer makes of an attempt.
func (f *Forward) verdict(status int, header http.Header, receivedAt time.Time) error {
	if status >= 200 && status <= 299 {
		return nil
	}
	err := fmt.Errorf("forward to %s: it answered %d %s", f.name, status, http.StatusText(status))
	switch {
	case status >= 300 && status <= 399:
		return fmt.Errorf("%w, and redirects are not followed: let the URL be where it leads (FORWARD_URLS)", err)
	case status == http.StatusGone:
		return river.JobCancel(err)
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		now := f.now()
		if now.Sub(receivedAt) > maxPutOff {
			return err
		}
		return fmt.Errorf("%w: %w", err, river.JobSnooze(putOff(lumin.RetryAfter(header.Get("Retry-After"), now))))
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return err
	case status >= 400 && status <= 499:
		return worker.JobFail(err)
	default:
		return err
	}
}

// putOff is how long to wait where the other side says for how long, or does not.
func putOff(told time.Duration) time.Duration {
	const shortest, usual, longest = time.Second, time.Minute, time.Hour
	if told <= 0 {
		return usual
	}
	return min(max(told, shortest), longest)
}
