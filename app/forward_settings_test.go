package app

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/forward"
)

// forwardSecret is a secret for forwarding, with padding at its end.
func forwardSecret(letter string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, 25)))
}

func TestForwardSettings(t *testing.T) {
	t.Parallel()
	a, b, c := forwardSecret("a"), forwardSecret("b"), forwardSecret("c")
	settings := forwardSettings{
		ForwardURLs:          "crm=https://crm.example.com/hook?x=1\n billing = http://10.1.2.3:8080/ ",
		ForwardSecrets:       "crm=" + a + ",billing=" + b + "\r\n crm = " + c + "\n",
		ForwardEvents:        "billing=approved,billing=undocumented:signature_request_sent",
		ForwardAllowNetworks: "billing=10.1.0.0/16,billing=fd00:1::/32",
	}
	want := []forward.Target{
		{Name: "crm", URL: "https://crm.example.com/hook?x=1", Secrets: []string{a, c}},
		{
			Name: "billing", URL: "http://10.1.2.3:8080/", Secrets: []string{b},
			Events:        []lumin.EventType{lumin.SignatureRequestApproved, "signature_request_sent"},
			AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")},
		},
	}
	got, err := settings.targets()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, recovered := range []bool{true, false} {
		settings.ForwardRecovered = recovered
		forwards, err := settings.jobTypes()
		if err != nil || len(forwards) != 2 || forwards[0].Kind() != "forward_crm" || forwards[1].Kind() != "forward_billing" {
			t.Fatalf("%v, %v", forwards, err)
		}
		if forwards[0].Recovered() != recovered || forwards[1].Recovered() != recovered {
			t.Errorf("FORWARD_RECOVERED=%t has no effect", recovered)
		}
	}

	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte(settings.ForwardSecrets), 0o600); err != nil {
		t.Fatal(err)
	}
	settings.ForwardSecrets, settings.ForwardSecretsFile = "", file
	if got, err := settings.targets(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("from a file: %+v, %v", got, err)
	}
}

// Without settings, nothing is forwarded.
func TestForwardSettingsUnset(t *testing.T) {
	t.Parallel()
	if forwards, err := (forwardSettings{ForwardURLs: " \n"}).jobTypes(); err != nil || len(forwards) != 0 {
		t.Errorf("%v, %v", forwards, err)
	}
}

func TestForwardSettingsRefused(t *testing.T) {
	t.Parallel()
	const canary = "canarysecret"
	key := forwardSecret("a")
	sound := forwardSettings{ForwardURLs: "crm=https://crm.example.com/", ForwardSecrets: "crm=" + key}
	for name, test := range map[string]struct {
		change func(*forwardSettings)
		what   string
		hint   string
	}{
		"URL without a name":        {func(s *forwardSettings) { s.ForwardURLs = "https://crm.example.com/?" + canary }, "FORWARD_URLS: entry 1 is not NAME=URL", "%2C"},
		"a comma in a URL":          {func(s *forwardSettings) { s.ForwardURLs += "?a,b" }, "FORWARD_URLS: entry 2 is not NAME=URL", "%2C"},
		"a comma at the end":        {func(s *forwardSettings) { s.ForwardURLs += "," }, "FORWARD_URLS: entry 2 is not", "NAME=URL"},
		"a name twice":              {func(s *forwardSettings) { s.ForwardURLs += "," + s.ForwardURLs }, "FORWARD_URLS has crm twice", "a name of its own"},
		"URL without a secret":      {func(s *forwardSettings) { s.ForwardURLs += ",erp=https://erp.example.com/" }, "no secret for it", "add erp=whsec_SECRET"},
		"no secret":                 {func(s *forwardSettings) { s.ForwardSecrets = "" }, "FORWARD_URLS has crm, and FORWARD_SECRETS has no secret", "nothing is forwarded unsigned"},
		"http":                      {func(s *forwardSettings) { s.ForwardURLs = "crm=http://crm.example.com/?" + canary }, "forward to crm: the URL is http", "FORWARD_ALLOW_NETWORKS"},
		"secret without a URL":      {func(s *forwardSettings) { s.ForwardSecrets += ",erp=" + key }, "FORWARD_SECRETS: entry 2 has a name that is not in FORWARD_URLS", "the names there are: crm"},
		"secret, and no URL at all": {func(s *forwardSettings) { s.ForwardURLs = "" }, "FORWARD_SECRETS: entry 1 has a name", "the names there are: none"},
		"secret without a name":     {func(s *forwardSettings) { s.ForwardSecrets = key }, "FORWARD_SECRETS: entry 1 is not NAME=SECRET", "NAME=SECRET"},
		"a bare secret like a name": {func(s *forwardSettings) { s.ForwardSecrets = canary + "==" }, "FORWARD_SECRETS: entry 1 has a name", "names there are"},
		"no prefix":                 {func(s *forwardSettings) { s.ForwardSecrets = "crm=" + canary }, "secret 1 of 1 does not begin with whsec_", "FORWARD_SECRETS"},
		"a short key":               {func(s *forwardSettings) { s.ForwardSecrets += ",crm=whsec_AAAA" }, "secret 2 of 2 has a key of 3 bytes", "FORWARD_SECRETS"},
		"an empty secret":           {func(s *forwardSettings) { s.ForwardSecrets = "crm=" }, "FORWARD_SECRETS: entry 1 is not NAME=SECRET", "NAME=SECRET"},
		"secrets and a file":        {func(s *forwardSettings) { s.ForwardSecretsFile = "x" }, "FORWARD_SECRETS and FORWARD_SECRETS_FILE are both set", "keep one"},
		"a file that is not there":  {func(s *forwardSettings) { s.ForwardSecrets, s.ForwardSecretsFile = "", "no-such-file" }, "FORWARD_SECRETS_FILE", "name a plain file"},
		"a misspelled event":        {func(s *forwardSettings) { s.ForwardEvents = "crm=signature_request_cancelled" }, "FORWARD_EVENTS: entry 1, for crm, has an event type that Lumin does not document", "did you mean canceled?"},
		"an event marked and empty": {func(s *forwardSettings) { s.ForwardEvents = "crm=undocumented:" }, "does not document", "undocumented:TYPE"},
		"an event, unknown target":  {func(s *forwardSettings) { s.ForwardEvents = "erp=signature_request_signed" }, "FORWARD_EVENTS: entry 1 has a name", "FORWARD_URLS"},
		"no network":                {func(s *forwardSettings) { s.ForwardAllowNetworks = "crm=10.1.2.3" }, "FORWARD_ALLOW_NETWORKS: entry 1, for crm, has an invalid network", "10.1.2.3/32"},
		"a network with an address": {func(s *forwardSettings) { s.ForwardAllowNetworks = "crm=10.1.2.3/8" }, "has an invalid network", "only zeros after"},
		"a network, unknown target": {func(s *forwardSettings) { s.ForwardAllowNetworks = "crm=10.0.0.0/8,erp=10.0.0.0/8" }, "FORWARD_ALLOW_NETWORKS: entry 2 has a name", "FORWARD_URLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := sound
			test.change(&settings)
			_, err := settings.jobTypes()
			if !errors.Is(err, advice.ErrUsage) {
				t.Fatalf("error %v is not one of usage", err)
			}
			problem, remedy := advice.Of(err)
			if !strings.Contains(problem, test.what) || !strings.Contains(remedy, test.hint) {
				t.Errorf("%v\n%s\nwant %q and %q", err, remedy, test.what, test.hint)
			}
			for _, secret := range []string{canary, strings.TrimPrefix(key, "whsec_")} {
				if strings.Contains(problem+remedy, secret) {
					t.Errorf("%v\n%s\ntells %q", err, remedy, secret)
				}
			}
			if strings.Contains(problem+remedy, "\n") || strings.Contains(problem+remedy, "%!") {
				t.Errorf("%q, %q", err, remedy)
			}
		})
	}
}

// The settings have the documented names.
func TestForwardSettingsNames(t *testing.T) {
	t.Parallel()
	var settings forwardSettings
	parser, err := kong.New(&settings)
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parser.Model.Flags {
		if flag.Name == "help" {
			continue
		}
		if want := strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")); len(flag.Envs) != 1 || flag.Envs[0] != want || !strings.HasPrefix(want, "FORWARD_") {
			t.Errorf("--%s is %q in the environment", flag.Name, flag.Envs)
		}
	}
}

// Each target is a job type of the program.
func TestForwardsAreRegistered(t *testing.T) {
	t.Parallel()
	secret := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	settings := builtInSettings{forwardSettings: forwardSettings{
		ForwardURLs: "crm=https://crm.example/hook,audit=https://audit.example/in", ForwardSecrets: "crm=" + secret + ",audit=" + secret,
		ForwardEvents: "crm=signature_request_approved",
	}}
	registry := worker.NewRegistry()
	if err := settings.addTo(t.Context(), registry, Env{}); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, job := range registry.Route("account", lumin.SignatureRequestViewed) {
		kinds = append(kinds, job.Kind+" in "+job.Queue)
	}
	if got := strings.Join(kinds, ", "); got != "forward_audit in forward_audit" {
		t.Errorf("viewed goes to %q", got)
	}
	if n := len(registry.Route("account", lumin.SignatureRequestApproved)); n != 2 {
		t.Errorf("approved goes to %d targets, want 2", n)
	}
}
