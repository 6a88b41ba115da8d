package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

type triggerCommand struct {
	sourceSettings
	outputSettings
	EventType        string        `arg:"" optional:"" help:"Event type to send, such as signature_request_signed or signed for short. A type that Lumin does not document must begin with signature_request_."`
	Scenario         string        `enum:"signing," default:"" placeholder:"NAME" help:"signing: created, viewed, signed, approved and downloadable of one signature request."`
	URL              string        `name:"url" default:"http://127.0.0.1:8080" help:"Address of the program that receives deliveries."`
	Source           string        `default:"account" help:"Send as this source: account or app:NAME."`
	Key              string        `placeholder:"SECRET" help:"Secret to sign with. By default the configured one, or else the example in Lumin's documentation, which dev accepts."`
	SignatureRequest string        `placeholder:"ID" help:"Signature request of the deliveries. A new one by default."`
	Duplicate        bool          `help:"Send each delivery a second time, as Lumin's retries do."`
	NewToken         bool          `help:"Send each delivery a second time with a fresh token in its details_url."`
	BadSignature     bool          `help:"Sign with a wrong key."`
	Timeout          time.Duration `default:"30s" help:"How long to wait for an answer; Lumin waits 30 s."`
}

func (c *triggerCommand) Run(ctx context.Context, std streams) error {
	types, err := c.eventTypes()
	if err != nil {
		return err
	}
	for _, flag := range []struct {
		name  string
		value *string
	}{{"--url", &c.URL}, {"--key", &c.Key}} {
		if *flag.value, err = clean(flag.name, *flag.value); err != nil {
			return err
		}
	}
	sender, err := c.sender()
	if err != nil {
		return err
	}
	if c.SignatureRequest == "" {
		c.SignatureRequest = sample.RandomHex(20)
	}
	sent, err := c.send(ctx, std.out, sender, types)
	if !c.json() && len(sent) > 0 {
		sentListing().table(std.out, sent)
	}
	if err != nil {
		return err
	}
	expected := http.StatusOK
	if c.BadSignature {
		expected = http.StatusUnauthorized
	}
	unexpected := 0
	for _, line := range sent {
		if line.HTTPStatus != expected {
			unexpected++
		}
	}
	if unexpected > 0 {
		return advice.Add(fmt.Errorf("%d of %d answers were not %d", unexpected, len(sent), expected), "the log of the program that answered shows the reason")
	}
	return nil
}

// send sends the deliveries and returns their answers, also those from before an
// error. With --output json, it prints each answer when it arrives.
func (c *triggerCommand) send(ctx context.Context, out io.Writer, sender *sender, types []lumin.EventType) (sent []sentLine, err error) {
	start := time.Now()
	for i, t := range types {
		// The times are a millisecond apart, so that the scenario has an order.
		for _, body := range c.bodies(t, start.Add(time.Duration(i)*time.Millisecond)) {
			answer, err := sender.send(ctx, body)
			var timeout net.Error
			switch {
			case errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil:
				return sent, advice.Add(fmt.Errorf("%s did not answer within %s", c.URL, c.Timeout), "check the log of the program there, or give a longer --timeout")
			case err != nil:
				return sent, advice.Add(fmt.Errorf("nothing answers: %w", err), "start \"%s dev\" or \"serve\", or give --url", invocation())
			}
			line := answer.line(string(t), c.SignatureRequest)
			sent = append(sent, line)
			if c.json() {
				if err := printJSON(out, line); err != nil {
					return sent, err
				}
			}
		}
	}
	return sent, nil
}

// bodies returns the bodies of one event: the first delivery and the
// redeliveries that the flags request.
func (c *triggerCommand) bodies(t lumin.EventType, at time.Time) [][]byte {
	d := sample.Delivery{EventType: t, SignatureRequestID: c.SignatureRequest, At: at}
	body := d.Body()
	bodies := [][]byte{body}
	if c.Duplicate {
		bodies = append(bodies, body)
	}
	if c.NewToken {
		d.Token = sample.RandomHex(8)
		bodies = append(bodies, d.Body())
	}
	return bodies
}

func (c *triggerCommand) eventTypes() ([]lumin.EventType, error) {
	switch {
	case c.Scenario != "" && c.EventType != "":
		return nil, advice.Usage("an event type and a scenario are given", "give one of them")
	case c.Scenario != "":
		return signingScenario(), nil
	case c.EventType == "":
		return nil, advice.Usage("nothing to send", "give an event type, such as %s, or --scenario signing", lumin.SignatureRequestSigned)
	}
	t := fullEventType(c.EventType)
	if t.Documented() {
		return []lumin.EventType{t}, nil
	}
	// All types that Lumin sends have the prefix, even undocumented ones.
	short, prefixed := strings.CutPrefix(c.EventType, eventTypePrefix)
	if !prefixed || len(nearest(short, shortEventTypes())) > 0 {
		return nil, advice.Usage(fmt.Sprintf("Lumin documents no event type %q", c.EventType),
			"%s; a type that Lumin does not document must begin with %s", didYouMean(short, shortEventTypes()), eventTypePrefix)
	}
	return []lumin.EventType{t}, nil
}

func signingScenario() []lumin.EventType {
	return []lumin.EventType{
		lumin.SignatureRequestCreated, lumin.SignatureRequestViewed, lumin.SignatureRequestSigned,
		lumin.SignatureRequestApproved, lumin.SignatureRequestDownloadable,
	}
}

func (c *triggerCommand) sender() (*sender, error) {
	if err := checkSource(c.Source); err != nil {
		return nil, err
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, advice.Usage("--url is not the URL of a server", "write it as http://127.0.0.1:8080")
	}
	secrets, err := c.secrets()
	if err != nil {
		return nil, err
	}
	key := strings.TrimSpace(c.Key)
	if key == "" && len(secrets[c.Source]) > 0 {
		key = secrets[c.Source][0]
	}
	path := "/webhooks/account"
	name, isApp := strings.CutPrefix(c.Source, "app:")
	if isApp {
		path = "/webhooks/apps/" + name
	}
	if key == "" {
		key = sample.AccountKey
		if isApp {
			key = sample.AppSecret
		}
	}
	if c.BadSignature {
		key += " but wrong"
	}
	return &sender{endpoint: strings.TrimSuffix(c.URL, "/") + path, key: key, client: &http.Client{
		Timeout:       c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // Lumin follows none
	}}, nil
}

// sender sends deliveries as Lumin does.
type sender struct {
	endpoint string
	key      string
	client   *http.Client
}

// answer is the answer to a delivery.
type answer struct {
	status  int
	outcome string // recorded, duplicate, ..., or the code of the problem
	id      int64
}

func (a answer) eventID() string {
	if a.id == 0 {
		return "-"
	}
	return strconv.FormatInt(a.id, 10)
}

// sentLine is one sent delivery and its answer as JSON.
type sentLine struct {
	EventType        string  `json:"event_type"`
	SignatureRequest string  `json:"signature_request_id"`
	HTTPStatus       int     `json:"http_status"`
	Status           *string `json:"status"` // recorded, duplicate or unrecognized; null: refused
	Code             *string `json:"code"`   // why it was refused; null: it was recorded, or the answer has no code
	EventID          *int64  `json:"event_id"`

	answer answer
}

func (a answer) line(eventType, signatureRequest string) sentLine {
	line := sentLine{EventType: eventType, SignatureRequest: signatureRequest, HTTPStatus: a.status, answer: a}
	switch {
	case a.outcome == "":
	case a.status == http.StatusOK:
		line.Status = &a.outcome
	default:
		line.Code = &a.outcome
	}
	if a.id != 0 {
		line.EventID = &a.id
	}
	return line
}

func sentListing() listing[sentLine] {
	return listing[sentLine]{
		headings: []string{eventTypeHeading, "ANSWER", "", "EVENT"},
		cells: func(line sentLine) []string {
			return []string{line.EventType, strconv.Itoa(line.HTTPStatus), line.answer.outcome, line.answer.eventID()}
		},
	}
}

func (s *sender) send(ctx context.Context, body []byte) (answer, error) {
	return s.sendSigned(ctx, body, lumin.Sign(body, s.key))
}

func (s *sender) sendSigned(ctx context.Context, body []byte, signature string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Lumin Sign API")
	req.Header.Set(lumin.SignatureHeader, signature)
	res, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return answer{}, err
	}
	var reply struct {
		ID     int64
		Status any // a word on success, a number in a problem
		Code   string
	}
	a := answer{status: res.StatusCode}
	if json.Unmarshal(content, &reply) == nil {
		a.id, a.outcome = reply.ID, reply.Code
		if word, ok := reply.Status.(string); ok {
			a.outcome = word
		}
	}
	return a, nil
}
