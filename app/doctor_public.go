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

	"lumin-ingest/internal/errtext"
	"lumin-ingest/store"
)

const (
	// probeTimeout is what a delivery without a body may take; Lumin gives up
	// after 30 s.
	probeTimeout = 10 * time.Second

	// probeBytes is what is read of an answer: ours are much shorter.
	probeBytes = 64 << 10
)

// publicURL is where Lumin delivers to; nil if none is given.
func publicURL(text string) (*url.URL, error) {
	text, err := clean("PUBLIC_URL", text)
	if err != nil || text == "" {
		return nil, err
	}
	u, err := url.Parse(text) // not quoted below: it may hold a password
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usage("PUBLIC_URL is not the address of a server", "write it as https://hooks.example.com, without the path of a webhook, a user or a query")
	}
	return u, nil
}

// examinePublic checks that each configured webhook can be reached as Lumin will.
func examinePublic(ctx context.Context, public *url.URL, secrets map[string][]string) []finding {
	f := finding{"public URL", ok, public.Redacted(), ""}
	if public.Scheme != "https" {
		f.Remedy = "put a proxy with a certificate in front and give its https URL: Lumin delivers to nothing else"
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

// webhookPath is where deliveries of a source are received.
func webhookPath(source string) string {
	if name, isApp := strings.CutPrefix(source, "app:"); isApp {
		return "/webhooks/apps/" + name
	}
	return "/webhooks/account"
}

// probe posts nothing, unsigned, which this program alone answers as it does, and
// stores nowhere.
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
		problem.Code = "" // somebody else's answer
	}
	return checkAnswer(response, problem.Code)
}

// unreachable tells why there was no answer.
func unreachable(err error) (_ verdict, found, remedy string) {
	var (
		wrapped *url.Error
		slow    net.Error
	)
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the rest of it repeats the address
	}
	switch {
	case errors.As(err, &slow) && slow.Timeout():
		return failure, fmt.Sprintf("no answer within %s", probeTimeout), "see whether a firewall is in between and the program behind the proxy runs"
	case strings.Contains(err.Error(), "tls:"), strings.Contains(err.Error(), "x509:"):
		return failure, errtext.OneLine(err), "fix the certificate of the proxy: it must be valid for this name, and include the intermediate certificates"
	}
	return failure, errtext.OneLine(err), "check the name in DNS, and whether the proxy listens there and can be reached from outside"
}

// checkAnswer tells from an answer who gave it.
func checkAnswer(response *http.Response, code string) (_ verdict, found, remedy string) {
	found = fmt.Sprintf("answered %d", response.StatusCode)
	if code != "" {
		found += " " + errorCell(code)
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized && code == "signature_missing":
		return ok, found + ", as it should without a signature", ""
	case status == http.StatusNotFound && code == "unknown_source":
		return failure, found, "the program there has no secret for this webhook: set it where it runs, and restart it"
	case status >= 300 && status < 400:
		to := "elsewhere"
		if location, err := response.Location(); err == nil {
			to = cmp.Or(location.Scheme, "http") + "://" + location.Host + location.Path
		}
		return failure, found + ", a redirect to " + to, "give Lumin and PUBLIC_URL the address that it leads to: a redirected delivery may lose its body or signature"
	case status == http.StatusNotFound:
		return failure, found, "something else answers: see whether the proxy passes this path on unchanged"
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return failure, found, "something in front asks for a login or keeps strangers out: let POST to this path pass"
	case status >= 500:
		return failure, found, "the proxy answers for a program that does not: see whether it runs, and where the proxy looks for it"
	case status < 300:
		return failure, found, "something else says yes to everything: Lumin would take events for stored that are lost"
	}
	return failure, found, "something else answers: see whether the proxy passes POST to this path on unchanged"
}
