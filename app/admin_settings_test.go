package app

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/service"
)

func TestAdminSettings(t *testing.T) {
	t.Parallel()
	_, ann := access.NewToken("ann", access.Operate)
	_, bob := access.NewToken("bob", access.Read)
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# people, programs\n"+ann.Line()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg service.Config
	err := adminSettings{AdminTokensFile: file, AdminHosts: " dash.example, other.example", AdminTrustedProxies: "10.1.0.5/32",
		AdminUserHeader: "x-forwarded-user", AdminUserRoles: "ann@example.com=erase, *=operate"}.addTo(&cfg)
	if err != nil || len(cfg.AdminTokens) != 1 || cfg.AdminTokens[0] != ann || cfg.ReadAdminTokens == nil || strings.Join(cfg.AdminHosts, " ") != "dash.example other.example" {
		t.Errorf("%+v, %v", cfg, err)
	}
	p := cfg.AdminProxies
	if len(p.Trusted) != 1 || p.Trusted[0] != netip.MustParsePrefix("10.1.0.5/32") || p.UserHeader != "X-Forwarded-User" ||
		p.Roles["ann@example.com"] != access.Erase || p.Roles["*"] != access.Operate {
		t.Errorf("%+v", p)
	}
	cfg = service.Config{}
	if err := (adminSettings{AdminTokens: ann.Line() + "," + bob.Line()}).addTo(&cfg); err != nil || len(cfg.AdminTokens) != 2 || cfg.ReadAdminTokens != nil {
		t.Errorf("%+v, %v", cfg, err)
	}
	cfg = service.Config{}
	if err := (adminSettings{}).addTo(&cfg); err != nil || cfg.AdminTokens != nil || cfg.ReadAdminTokens != nil || cfg.AdminProxies.UserHeader != "" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// Who removes the last line of the file revokes the last token. A file that is gone
// revokes none.
func TestTokensFileRead(t *testing.T) {
	t.Parallel()
	_, ann := access.NewToken("ann", access.Operate)
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(ann.Line())
	var cfg service.Config
	if err := (adminSettings{AdminTokensFile: file}).addTo(&cfg); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{ann.Line() + "\n": 1, "": 0, "\n": 0, "# " + ann.Line() + "\n": 0} {
		write(text)
		if tokens, err := cfg.ReadAdminTokens(); err != nil || len(tokens) != want {
			t.Errorf("%q: %d tokens, %v", text, len(tokens), err)
		}
	}
	write("half a li")
	if tokens, err := cfg.ReadAdminTokens(); err == nil {
		t.Errorf("half a line: %v", tokens)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if tokens, err := cfg.ReadAdminTokens(); err == nil {
		t.Errorf("no file: %v", tokens)
	}
}

func TestAdminSettingsRefused(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Operate)
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("# no one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]adminSettings{
		"ADMIN_TOKENS: line 1: 1 words instead of":                           {AdminTokens: secret},
		"ADMIN_TOKENS: line 2: an earlier line has the same name":            {AdminTokens: token.Line() + "," + token.Line()},
		"ADMIN_TOKENS and ADMIN_TOKENS_FILE are both set":                    {AdminTokens: token.Line(), AdminTokensFile: file},
		"ADMIN_TOKENS_FILE holds no token":                                   {AdminTokensFile: file},
		"ADMIN_TOKENS holds no token":                                        {AdminTokens: "# " + token.Line()},
		"ADMIN_TOKENS holds no token ":                                       {AdminTokens: ","},
		"trusts every address":                                               {AdminUserHeader: "X-User", AdminTrustedProxies: "10.1.0.5/32,::/0"},
		`ADMIN_USER_HEADER is "authorization"`:                               {AdminUserHeader: "authorization", AdminTrustedProxies: "10.1.0.5/32"},
		`ADMIN_USER_HEADER is "x-forwarded-for"`:                             {AdminUserHeader: "x-forwarded-for", AdminTrustedProxies: "10.1.0.5/32"},
		"ADMIN_TOKENS_FILE: it holds a value":                                {AdminTokensFile: "x\n" + token.Line()},
		`ADMIN_HOSTS: entry 2, "https://dash.example", is not a host name`:   {AdminHosts: "a,https://dash.example"},
		`ADMIN_HOSTS: entry 1, "*.example", is not a host name`:              {AdminHosts: "*.example"},
		`ADMIN_TRUSTED_PROXIES: entry 1, "10.1.0.5", is not a network`:       {AdminTrustedProxies: "10.1.0.5"},
		"ADMIN_USER_HEADER is set without ADMIN_TRUSTED_PROXIES":             {AdminUserHeader: "X-Forwarded-User"},
		"ADMIN_USER_ROLES is set without ADMIN_USER_HEADER":                  {AdminUserRoles: "ann=read"},
		`ADMIN_USER_HEADER is "X User"`:                                      {AdminUserHeader: "X User", AdminTrustedProxies: "10.1.0.5/32"},
		"ADMIN_USER_ROLES: entry 1 is not USER=ROLE, or names a user again":  {AdminUserRoles: "ann=admin", AdminUserHeader: "X-User", AdminTrustedProxies: "10.1.0.5/32"},
		"ADMIN_USER_ROLES: entry 2 is not USER=ROLE, or names a user again":  {AdminUserRoles: "ann=read,ann=erase", AdminUserHeader: "X-User", AdminTrustedProxies: "10.1.0.5/32"},
		"ADMIN_USER_ROLES: entry 1 is not USER=ROLE, or names a user again ": {AdminUserRoles: "ann", AdminUserHeader: "X-User", AdminTrustedProxies: "10.1.0.5/32"},
	} {
		err := s.addTo(&service.Config{})
		if !errors.Is(err, advice.ErrUsage) || !strings.Contains(err.Error(), strings.TrimSpace(want)) || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
	}
}
