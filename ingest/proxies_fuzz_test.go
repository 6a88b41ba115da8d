package ingest

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// FuzzCallerAddress: no header of a caller changes the address that is logged,
// and that address is always one.
func FuzzCallerAddress(f *testing.F) {
	for _, seed := range [][2]string{
		{"10.0.0.1:4711", "203.0.113.9"}, {"10.0.0.1:4711", "203.0.113.9:55555"}, {"10.0.0.1:4711", "[2001:db8::9]:443, 10.0.0.2:80"},
		{"[fd00::1]:4711", "2001:db8::9"}, {"[fd00::1]:4711", "[2001:db8::9]"}, {"10.0.0.1:4711", "unknown, 10.0.0.2"}, {"10.0.0.1:4711", "203.0.113.9:"},
		{"10.0.0.1:4711", "fe80::1%eth0\nremote_ip=1.2.3.4"}, {"10.0.0.1:4711", "::ffff:203.0.113.9"}, {"10.0.0.1:4711", ",,"}, {"", "203.0.113.9"}, {"@", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	address := callerAddress(trusted)
	of := func(remote string, forwarded ...string) string {
		return address(&http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": forwarded}})
	}
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		direct := of(remote)
		switch got := of(remote, forwarded); {
		case got == direct:
		case !trusted[0].Contains(netip.MustParseAddr(direct)) && !trusted[1].Contains(netip.MustParseAddr(direct)):
			t.Errorf("%q through %q, which is no proxy: %q", forwarded, remote, got)
		case netip.MustParseAddr(got).String() != got || strings.Contains(got, "%"):
			t.Errorf("%q through %q: %q", forwarded, remote, got)
		}
		// What a caller sends comes before what the proxy adds.
		for _, caller := range []string{"203.0.113.9", "203.0.113.9:4711", " 203.0.113.9 ", "[2001:db8::9]:1", "2001:db8::9"} {
			want := of("10.0.0.1:1", caller)
			for _, lines := range [][]string{{forwarded + "," + caller}, {forwarded, caller}} {
				if got := of("10.0.0.1:1", lines...); got != want {
					t.Errorf("%q: %q, want %q", lines, got, want)
				}
			}
		}
	})
}

// FuzzLoggable: the name of an unknown source shows no address and breaks no
// line of the log.
func FuzzLoggable(f *testing.F) {
	for _, seed := range []string{"", "app:crm", "ann@example.com", "app:\x00\n\x1b[31m", "app:\u202e\u2028\ufeff", "app:?token=a", strings.Repeat("é", 100), "\xff\xfe"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := loggable(name)
		if len(got) > 10*maxTried || strings.Contains(got, "@") || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q is logged as %q", name, got)
		}
	})
}
