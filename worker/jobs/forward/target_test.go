package forward_test

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/forward"
)

func TestNewForwardRefuses(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	for name, test := range map[string]struct {
		change func(*forward.Target)
		want   string
	}{
		"no name":               {func(a *forward.Target) { a.Name = "" }, "name of a target"},
		"name in upper case":    {func(a *forward.Target) { a.Name = "CRM" }, "name of a target"},
		"name with two hyphens": {func(a *forward.Target) { a.Name = "c--m" }, "single hyphens"},
		"name of 57":            {func(a *forward.Target) { a.Name = strings.Repeat("a", 57) }, "1 to 56"},
		"no URL":                {func(a *forward.Target) { a.URL = "" }, "write it as https://"},
		"no scheme":             {func(a *forward.Target) { a.URL = "example.com?" + queryCanary }, "write it as https://"},
		"another scheme":        {func(a *forward.Target) { a.URL = "ftp://example.com/?" + queryCanary }, "write it as https://"},
		"no host":               {func(a *forward.Target) { a.URL = "https:///path?" + queryCanary }, "write it as https://"},
		"not a URL":             {func(a *forward.Target) { a.URL = "https://a b/?" + queryCanary }, "write it as https://"},
		"control characters":    {func(a *forward.Target) { a.URL = "https://example.com/\n" + queryCanary }, "write it as https://"},
		"a zone":                {func(a *forward.Target) { a.URL = "https://[fe80::1%25eth0]/" }, "zone"},
		"port 0":                {func(a *forward.Target) { a.URL = "https://example.com:0/" }, "1 to 65535"},
		"port 65536":            {func(a *forward.Target) { a.URL = "https://example.com:65536/" }, "1 to 65535"},
		"user":                  {func(a *forward.Target) { a.URL = "https://canary_user:x@example.com/" }, "user or password"},
		"fragment":              {func(a *forward.Target) { a.URL = "https://example.com/#" + queryCanary }, "fragment"},
		"http in public":        {func(a *forward.Target) { a.AllowNetworks = nil }, "write https"},
		"http, partly public": {func(a *forward.Target) {
			a.AllowNetworks = []netip.Prefix{prefix("10.0.0.0/8"), prefix("8.8.8.0/24")}
		}, "write https"},
		"http, more than private": {func(a *forward.Target) { a.AllowNetworks = []netip.Prefix{prefix("10.0.0.0/7")} }, "write https"},
		"no network":              {func(a *forward.Target) { a.AllowNetworks = []netip.Prefix{{}} }, "10.1.0.0/16"},
		"IPv4 within IPv6":        {func(a *forward.Target) { a.AllowNetworks = []netip.Prefix{prefix("::ffff:10.0.0.0/104")} }, "10.1.0.0/16"},
		"no secret":               {func(a *forward.Target) { a.Secrets = nil }, "there is no secret to sign with"},
		"an empty secret":         {func(a *forward.Target) { a.Secrets[0] = "" }, "secret 1 of 1 does not begin with whsec_"},
		"a bare secret":           {func(a *forward.Target) { a.Secrets[0] = strings.TrimPrefix(a.Secrets[0], "whsec_") }, "does not begin with whsec_"},
		"an empty key":            {func(a *forward.Target) { a.Secrets[0] = "whsec_" }, "key of 0 bytes"},
		"a key of 23":             {func(a *forward.Target) { a.Secrets = append(a.Secrets, forwardSecret("a", 23)) }, "secret 2 of 2 has a key of 23 bytes: give 24 to 64"},
		"a key of 65":             {func(a *forward.Target) { a.Secrets[0] = forwardSecret("a", 65) }, "key of 65 bytes"},
		"not Base64":              {func(a *forward.Target) { a.Secrets[0] = "whsec_" + strings.Repeat("_-YWFh", 8) }, "not Base64"},
		"a line break":            {func(a *forward.Target) { a.Secrets[0] += "\n" }, "not Base64"},
		"an empty event type":     {func(a *forward.Target) { a.Events = []lumin.EventType{""} }, "event type is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := target("crm", "http://127.0.0.1:1")
			test.change(&at)
			_, err := forward.New(at)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			noLeak(t, strings.ReplaceAll(strings.ReplaceAll(err.Error(), "whsec_:", ""), "whsec_", ""))
		})
	}
}

func ExampleNew() {
	registry := worker.NewRegistry()
	crm, err := forward.New(forward.Target{
		Name:    "crm",
		URL:     (&url.URL{Scheme: "https", Host: "crm.example.com", Path: "/lumin"}).String(),
		Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte("in truth 24 to 64 random bytes"))},
		Events:  []lumin.EventType{lumin.SignatureRequestApproved},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry.Add(crm)
	fmt.Println(registry.Kinds())
	// Output: [forward_crm]
}
