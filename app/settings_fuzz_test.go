package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/duration"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// A fuzzed setting holds this secret wherever the fuzzer writes a K. It is also
// a valid name.
const fuzzedSecret = "canary0secret0canary"

func withSecret(text string) string { return strings.ReplaceAll(text, "K", fuzzedSecret) }

// mustNotShow fails if the two lines of an error show the secret, or are more
// than two.
func mustNotShow(t *testing.T, text string, err error) {
	t.Helper()
	if !errors.Is(err, advice.ErrUsage) {
		t.Errorf("%q: not a usage error: %v", text, err)
	}
	problem, remedy := advice.Of(err)
	if said := problem + "\n" + remedy; strings.Contains(strings.ToLower(said), "canary") || strings.Count(said, "\n") != 1 {
		t.Errorf("%q: the error shows it: %s", text, said)
	}
}

// FuzzSecrets: the settings of secrets accept only what can be a secret, and no
// error shows one.
func FuzzSecrets(f *testing.F) {
	for _, seed := range []string{
		"", "K", "K,K", " K \n K\r\n", "K,", ",,", "name=K", "name = K ,name=K", "K=name", "K=K", "=K", "name=", "name", "\"K\"", "name='K'", "\ufeffK", "K K",
		"<K>", "K\x00", "K\u00a0K", "short", "name=short", "KK=K", "Name=K", "name=K=K", "a-9=K,\n\nb=K", "K\n,K", "\u201cK\u201d", "`K`",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = withSecret(text)
		for _, settings := range []sourceSettings{{AccountAPIKeys: text}, {AppSecrets: text}} {
			secrets, err := settings.secrets()
			if err != nil {
				mustNotShow(t, text, err)
				continue
			}
			for source, list := range secrets {
				if !store.ValidSource(source) || len(list) == 0 {
					t.Errorf("%q: source %q with %d secrets", text, source, len(list))
				}
				for _, secret := range list {
					if len(secret) < 16 || strings.Trim(secret, " \t\r\n\"'`\ufeff") != secret || strings.ContainsAny(secret, ",<> \n") || lumin.CheckSecret(secret) != nil {
						t.Errorf("%q: accepts %q", text, secret)
					}
				}
			}
			keyrings, err := settings.keyrings()
			if (err == nil) != (len(secrets) > 0) || len(keyrings) != len(secrets) {
				t.Errorf("%q: %d keyrings, %v", text, len(keyrings), err)
			}
		}
	})
}

// FuzzForward: the settings of forward show no secret and no URL in an error.
func FuzzForward(f *testing.F) {
	const key = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, seed := range [][4]string{
		{"https://crm.example.com/?K", "crm=" + key, "crm=approved", ""}, {"https://crm.example.com", "crm=K", "", ""}, {"https://crm.example.com", "K=crm", "", ""},
		{"https://crm.example.com", "K", "", ""}, {"https://u:K@crm.example.com", key, "", ""}, {"http://K", "crm=" + key, "", "crm=10.0.0.0/8"},
		{"https://[K", "crm=" + key, "", ""}, {"K://x", "crm=" + key, "", ""}, {"https://h:K", "crm=" + key, "", ""}, {"https://h/#K", "crm=" + key, "", ""},
		{"https://h", "crm=whsec_K", "", ""}, {"https://h", "crm=" + key, "crm=K", ""}, {"https://h", "crm=" + key, "crm=undocumented:K", ""}, {"https://h", "crm=" + key, "", "crm=K"},
		{"\"https://h\"", "'crm=" + key + "'", "crm=", "=1.2.3.4/32"}, {"https://h%2C?K", "crm=" + key + ",crm=" + key, "crm=signed,crm=approved", "crm=fd00::/8"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, address, secrets, events, networks string) {
		if strings.ContainsAny(address, ",\n") {
			return // further names, which are shown
		}
		settings := forwardSettings{ForwardURLs: withSecret("crm=" + address), ForwardSecrets: withSecret(secrets), ForwardEvents: withSecret(events), ForwardAllowNetworks: withSecret(networks)}
		targets, err := settings.jobTypes()
		if err != nil {
			mustNotShow(t, address+" "+secrets+" "+events+" "+networks, err)
		} else if len(targets) != 1 || targets[0].Kind() != "forward_crm" {
			t.Errorf("%d targets", len(targets))
		}
	})
}

// FuzzURLs: the settings that hold URLs show no part of a malformed one.
func FuzzURLs(f *testing.F) {
	for _, seed := range []string{
		"", "K", "https://hooks.example.com", "https://u:K@h", "https://h/?K", "https://h/#K", "K://h", "K:h", "//K", "https://K:port", "https://[K", "%K", "file://K/x",
		"file:///K", "s3://K?secret=K", "mem://K", "gs://K", "ftp://K", "file:K", "\"https://h\"", "https://h\n", "file:///\x00K", "http://127.0.0.1:1/K",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = withSecret(text)
		if u, err := publicURL(text); err != nil {
			mustNotShow(t, text, err)
		} else if u != nil && (u.User != nil || u.RawQuery != "" || u.Hostname() == "") {
			t.Errorf("PUBLIC_URL %q is accepted", text)
		}
		if _, _, err := (luminSettings{LuminAPIKey: "key", LuminAPIURL: text}).client(); err != nil {
			mustNotShow(t, text, err)
		}
		if !strings.HasPrefix(strings.ToLower(trim(text)), "file:") { // which would create files, and shows the path
			if bucket, err := openBucket(t.Context(), text); err != nil {
				mustNotShow(t, text, err)
			} else {
				_ = bucket.Close()
			}
		}
	})
}

// FuzzServeSettings: the other settings of serve are accepted or refused in
// two lines, and none shows a value that looks like a secret.
func FuzzServeSettings(f *testing.F) {
	names := []string{
		"--workers", "--queue", "--drain-delay", "--max-event-age", "--late-events", "--log-level", "--log-format", "--role", "--trusted-proxies", "--max-body-memory",
		"--retain-payloads", "--retain-events", "--listen-addr", "--port", "--admin-listen-addr", "--reconcile-every", "--archive-files", "--signature-request-state",
	}
	for n := range names {
		f.Add(uint8(n), "K")
		f.Add(uint8(n), []string{"slow=5,bulk=K", "K=5", "10.0.0.0/8,K", "7d", "64MiB", "\x00", "a\nb", "16"}[n%8])
	}
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		name := names[int(n)%len(names)]
		alone := secretAlone(text)
		text = withSecret(text)
		err := parseServe(t, name+"="+text)
		if err == nil {
			return
		}
		problem, _ := advice.Of(err)
		shown := withoutMisplaced(problem, []string{"SETTING"}, func(string) string { return text })
		if alone && strings.Contains(shown, fuzzedSecret) {
			t.Errorf("%s %q: the error shows it: %s", name, text, shown)
		}
		if strings.ContainsAny(shown, "\n\r\x00\x1b") {
			t.Errorf("%s %q: an error of several lines: %q", name, text, shown)
		}
	})
}

// secretAlone reports whether an entry of a list, or the value of an entry
// NAME=VALUE, is nothing but the secret.
func secretAlone(list string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(entry string) bool {
		_, value, _ := strings.Cut(entry, "=")
		return strings.TrimSpace(entry) == "K" || strings.TrimSpace(value) == "K"
	})
}

// parseServe parses a flag of serve and checks the settings that need no
// database.
func parseServe(t *testing.T, flag string) error {
	t.Helper()
	var cli commands
	parser, err := kong.New(&cli, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}), durations(), kong.BindTo(t.Context(), (*context.Context)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve", flag}); err != nil {
		return advice.Usage(err.Error(), "")
	}
	_, err = cli.Serve.config(t.Context(), slog.New(slog.DiscardHandler), nil) // fails at the database at the latest
	if err == nil {
		t.Error("a service without a database")
	}
	return err
}

// FuzzTrustedProxies: the networks that are accepted are those written.
func FuzzTrustedProxies(f *testing.F) {
	for _, seed := range []string{"", "10.0.0.0/8", "10.0.0.0/8, fd00::/8\n", "10.0.0.1/8", "::ffff:10.0.0.0/104", "1.2.3.4", "10.0.0.0/8,", "fe80::%eth0/10", "0.0.0.0/0", "10.0.0.0/08"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		networks, err := callerSettings{TrustedProxies: text}.trustedProxies()
		if err != nil {
			if !errors.Is(err, advice.ErrUsage) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		var written []netip.Prefix
		for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || strings.ContainsRune(" \t\r\n\v\f\u0085\u00a0", r) }) {
			prefix, err := netip.ParsePrefix(field)
			if err != nil || prefix.Masked() != prefix {
				t.Errorf("%q: accepts %q", text, field)
			}
			written = append(written, prefix)
		}
		if len(written) != len(networks) {
			t.Errorf("%q: %d networks, want %d", text, len(networks), len(written))
		}
	})
}

// FuzzParseWhen: a time that is accepted is within the range of the database,
// and is read again from each form in which it is printed.
func FuzzParseWhen(f *testing.F) {
	for _, seed := range []string{
		"2026-01-02", "2026-01-02T03:04:05Z", "2026-01-02 03:04:05.678901+05:30", "2026-01-02 03:04", "7d", "1w2d3h", "0", "36500d", "99999d", "1899-12-31", "9999-12-31T23:59:59-12:00",
		"0001-01-01T00:00:00Z", "2026-02-30", "2026-01-02T24:00:00Z", "2026-01-02T03:04:60Z", "now", "-1h", "2026-01-02T03:04:05,5Z", "",
	} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseWhen(text, now)
		if err != nil {
			return
		}
		if at.Before(minTime()) || at.Year() > 9999 || at.Location() != time.UTC {
			t.Errorf("%q is %v", text, at)
		}
		for _, printed := range []string{at.Format(time.RFC3339Nano), at.Format("2006-01-02 15:04:05.999999999Z"), at.In(time.FixedZone("", 5*3600)).Format("2006-01-02 15:04:05.999999999-07")} {
			if again, err := parseWhen(printed, now); err != nil || !again.Equal(at) {
				t.Errorf("%q is %v, and %q is %v, %v", text, at, printed, again, err)
			}
		}
		if ago, err := duration.Parse(text); err == nil && !at.Equal(now.Add(-ago)) {
			t.Errorf("%q is %v", text, at)
		}
	})
}

// FuzzPrintable: stored texts cannot change the terminal or the lines of a
// table.
func FuzzPrintable(f *testing.F) {
	for _, seed := range []string{"", "Ünïcode 契約", "a\tb\nc\x1b[31m", "\u202e\u2066\ufeff", "\xff\xc0\x80", "\u009b31m", "\x7f\u0085\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		for _, r := range got {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff {
				t.Errorf("%q is printed as %q", text, got)
			}
		}
		if again := printable(got); again != got {
			t.Errorf("%q is printed as %q and then %q", text, got, again)
		}
	})
}
