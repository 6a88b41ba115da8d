package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/store"
)

const (
	// probeTimeout is ample for a delivery without a body. Lumin gives up after
	// 30 s.
	probeTimeout = 10 * time.Second

	// probeBytes bounds how much of an answer is read. Answers of this program
	// are much shorter.
	probeBytes = 64 << 10
)

// publicURL returns the address that Lumin delivers to; nil if none is given.
func publicURL(text string) (*url.URL, error) {
	text, err := clean("PUBLIC_URL", text)
	if err != nil || text == "" {
		return nil, err
	}
	u, err := url.Parse(text) // not quoted below: it may hold a password
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, advice.Usage("PUBLIC_URL is not the address of a server", "write it as https://hooks.example.com, without the path of a webhook, a user or a query")
	}
	return u, nil
}

// examinePublic checks that each configured webhook can be reached from Lumin.
func examinePublic(ctx context.Context, public *url.URL, secrets map[string][]string) []finding {
	f := finding{"public URL", ok, public.Redacted(), ""}
	if public.Scheme != "https" {
		f.Remedy = "put a proxy with a certificate in front and give its https URL: Lumin delivers only to https"
		if !isLoopback(public.Hostname()) {
			f.Verdict = failure
			return []finding{f}
		}
		f.Verdict = warning
	}
	findings := []finding{f}
	sources := slices.Sorted(maps.Keys(secrets))
	if len(sources) == 0 {
		sources = []string{store.AccountSource}
	}
	for _, source := range sources {
		verdict, found, remedy := probe(ctx, public.JoinPath(webhookPath(source)).String())
		findings = append(findings, finding{"webhook " + source, verdict, found, remedy})
	}
	return findings
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// webhookPath returns the path that receives the deliveries of a source.
func webhookPath(source string) string {
	if name, isApp := strings.CutPrefix(source, "app:"); isApp {
		return "/webhooks/apps/" + name
	}
	return "/webhooks/account"
}

// probe posts an empty unsigned body. This program stores nothing of it, and
// its answer distinguishes it from every other program.
func probe(ctx context.Context, address string) (_ verdict, found, remedy string) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, http.NoBody)
	if err != nil {
		return failure, "no address to post to", "check PUBLIC_URL"
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return unreachable(err)
	}
	defer response.Body.Close()
	var problem struct {
		Code string `json:"code"`
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, probeBytes))
	if err != nil {
		return unreachable(err)
	}
	if json.Unmarshal(body, &problem) != nil {
		problem.Code = "" // the answer of another program
	}
	return checkAnswer(response, problem.Code)
}

// unreachable explains why there was no answer.
func unreachable(err error) (_ verdict, found, remedy string) {
	var (
		wrapped *url.Error
		slow    net.Error
	)
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the outer error repeats the address
	}
	switch {
	case errors.As(err, &slow) && slow.Timeout():
		return failure, fmt.Sprintf("no answer within %s", probeTimeout), "check for a firewall in between, and that the program behind the proxy runs"
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		return failure, errtext.OneLine(err), "fix the certificate of the proxy: it must be valid for this name, and include the intermediate certificates"
	}
	return failure, errtext.OneLine(err), "check the name in DNS, and whether the proxy listens there and can be reached from outside"
}

// checkAnswer determines from an answer whether this program gave it.
func checkAnswer(response *http.Response, code string) (_ verdict, found, remedy string) {
	found = fmt.Sprintf("answered %d", response.StatusCode)
	if code != "" {
		found += " " + errorCell(code)
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized && code == "signature_missing":
		return ok, found + ", as expected without a signature", ""
	case status == http.StatusNotFound && code == "unknown_source":
		return failure, found, "the program there has no secret for this webhook: set it where it runs, and restart it"
	case status >= 300 && status < 400:
		to := "elsewhere"
		if location, err := response.Location(); err == nil {
			to = cmp.Or(location.Scheme, "http") + "://" + location.Host + location.Path
		}
		return failure, found + ", a redirect to " + to, "give Lumin and PUBLIC_URL the address that it leads to: a redirected delivery may lose its body or signature"
	case status == http.StatusNotFound:
		return failure, found, "another program answers: check that the proxy forwards this path unchanged"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return failure, found, "a server in front asks for a login or blocks unknown clients: allow POST to this path"
	case status >= 500:
		return failure, found, "the proxy gets no answer from the program: check that the program runs, and that the proxy has its address"
	case status < 300:
		return failure, found, "another program accepts every request: events would be lost, because Lumin considers them delivered"
	}
	return failure, found, "another program answers: check that the proxy forwards POST to this path unchanged"
}
