package alerting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/version"
	"lumin-ingest/store/alerts"
)

const (
	// postTimeout bounds one call of the webhook. A transaction is open meanwhile, and
	// the server ends one that waits for its client for 10 s.
	postTimeout = 5 * time.Second

	// maxAnswer is how much of an answer is read, so that the connection can end well.
	maxAnswer = 64 << 10
)

// Post sends one message. An error contains neither the URL nor the answer.
func (s Settings) Post(ctx context.Context, m alerts.Message) error {
	body, mediaType, err := s.encode(m)
	if err != nil {
		return fmt.Errorf("write the message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL of the webhook is invalid")
	}
	request.Header.Set("Content-Type", mediaType)
	request.Header.Set("User-Agent", version.String())
	response, err := client().Do(request)
	if err != nil {
		return fmt.Errorf("call the webhook: %w", withoutURL(err))
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the webhook answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	return nil
}

// client makes one call and keeps no connection: there is a message every few hours.
// A redirect is an answer like any other, so that no other server gets the message.
func client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true,
			TLSHandshakeTimeout: postTimeout, ResponseHeaderTimeout: postTimeout, MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// withoutURL removes the URL that net/http puts into its errors.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return errors.New(errtext.OneLine(err))
}
