package app

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/service"
)

// adminSettings say who may use the dashboard, its API and River UI.
type adminSettings struct {
	AdminDatabaseURL     string `env:"ADMIN_DATABASE_URL" placeholder:"URL" help:"The database with the login of the dashboard, a member of lumin_admin; by default DATABASE_URL."`
	AdminDatabaseURLFile string `env:"ADMIN_DATABASE_URL_FILE" placeholder:"FILE" help:"File that holds the value."`
	AdminTokens          string `env:"ADMIN_TOKENS" placeholder:"LINE,..." help:"Who may use the dashboard and its API: lines that \"token new\" prints, such as \"ann operate sha256:...\"."`
	AdminTokensFile      string `env:"ADMIN_TOKENS_FILE" placeholder:"FILE" help:"File that holds the lines. It is read again when it changes."`
	AdminHosts           string `env:"ADMIN_HOSTS" placeholder:"NAME,..." help:"Host names of the dashboard. Without a sign-in they are allowed beside localhost; with one, only they are allowed."`
	AdminTrustedProxies  string `env:"ADMIN_TRUSTED_PROXIES" placeholder:"CIDR,..." help:"Networks of proxies in front of the dashboard, whose X-Forwarded-For, X-Forwarded-Proto and ADMIN_USER_HEADER count."`
	AdminUserHeader      string `env:"ADMIN_USER_HEADER" placeholder:"NAME" help:"Header in which such a proxy names the user that it has signed in, such as X-Forwarded-User."`
	AdminUserRoles       string `env:"ADMIN_USER_ROLES" placeholder:"USER=ROLE,..." help:"Roles of these users: read, operate or erase. *=ROLE is for all others; by default read."`
}

// addTo adds the settings to those of a service.
func (s adminSettings) addTo(cfg *service.Config) (err error) {
	if cfg.AdminDatabaseURL, err = s.databaseURL(); err != nil {
		return err
	}
	if cfg.AdminTokens, err = s.firstTokens(); err != nil {
		return err
	}
	if s.AdminTokensFile != "" {
		cfg.ReadAdminTokens = s.nextTokens
	}
	if cfg.AdminHosts, err = s.hosts(); err != nil {
		return err
	}
	cfg.AdminProxies, err = s.proxies()
	return err
}

// databaseURL returns the URL for the dashboard; "" if it has none of its own.
func (s adminSettings) databaseURL() (string, error) {
	url, err := secret("ADMIN_DATABASE_URL", s.AdminDatabaseURL, s.AdminDatabaseURLFile)
	if err != nil || url == "" {
		return "", err
	}
	if err := checkURL("ADMIN_DATABASE_URL", url); err != nil {
		return "", err
	}
	return url, aboutURL("ADMIN_DATABASE_URL", pgopen.Check(url, pgopen.Options{Writes: true}))
}

// firstTokens reads the tokens when the program starts. Settings without a token are
// a mistake: they would leave a local dashboard open.
func (s adminSettings) firstTokens() ([]access.Token, error) {
	tokens, err := s.tokens()
	if err != nil || len(tokens) > 0 || s.AdminTokensFile+strings.TrimSpace(s.AdminTokens) == "" {
		return tokens, err
	}
	setting := "ADMIN_TOKENS"
	if s.AdminTokensFile != "" {
		setting = "ADMIN_TOKENS_FILE"
	}
	return nil, advice.Usage(setting+" holds no token", "make one with \"%s token new\", and put its line there", invocation())
}

// nextTokens reads the file of tokens again. Who removes its last line revokes the
// last token.
func (s adminSettings) nextTokens() ([]access.Token, error) {
	if text, err := readSecret(s.AdminTokensFile); err == nil && strings.TrimSpace(text) == "" {
		return nil, nil
	}
	return s.tokens()
}

// tokens reads the tokens. In the environment, commas separate them too.
func (s adminSettings) tokens() ([]access.Token, error) {
	text, err := secret("ADMIN_TOKENS", s.AdminTokens, s.AdminTokensFile)
	if err != nil {
		return nil, err
	}
	setting := "ADMIN_TOKENS_FILE"
	if s.AdminTokensFile == "" {
		setting, text = "ADMIN_TOKENS", strings.ReplaceAll(text, ",", "\n")
	}
	tokens, err := access.ParseTokens(text)
	if err != nil {
		return nil, advice.Usage(setting+": "+err.Error(), "copy the lines that \"%s token new\" prints; they hold a hash, not the token", invocation())
	}
	return tokens, nil
}

func (s adminSettings) hosts() ([]string, error) {
	if strings.TrimSpace(s.AdminHosts) == "" {
		return nil, nil
	}
	hosts, err := cleanEntries("ADMIN_HOSTS", s.AdminHosts)
	for i, host := range hosts {
		if host == "" || strings.ContainsAny(host, "/:*@ ") {
			return nil, advice.Usage(fmt.Sprintf("ADMIN_HOSTS: entry %d, %q, is not a host name", i+1, host),
				"write names such as ingest.example.com, without a scheme and a port")
		}
	}
	return hosts, err
}

func (s adminSettings) proxies() (p access.Proxies, err error) {
	if p.Trusted, err = networksOf("ADMIN_TRUSTED_PROXIES", s.AdminTrustedProxies); err != nil {
		return p, err
	}
	if p.UserHeader, err = clean("ADMIN_USER_HEADER", s.AdminUserHeader); err != nil {
		return p, err
	}
	switch {
	case p.UserHeader != "" && len(p.Trusted) == 0:
		return p, advice.Usage("ADMIN_USER_HEADER is set without ADMIN_TRUSTED_PROXIES", "set ADMIN_TRUSTED_PROXIES to the address of the proxy: anyone can send a header")
	case p.UserHeader == "" && strings.TrimSpace(s.AdminUserRoles) != "":
		return p, advice.Usage("ADMIN_USER_ROLES is set without ADMIN_USER_HEADER", "set ADMIN_USER_HEADER to the header in which the proxy names the user; tokens have their roles in their lines")
	case p.UserHeader != "" && slices.ContainsFunc(p.Trusted, func(network netip.Prefix) bool { return network.Bits() == 0 }):
		return p, advice.Usage("ADMIN_TRUSTED_PROXIES trusts every address, so any caller could name any user", "give the network of the proxy, such as 10.1.0.5/32")
	case p.UserHeader != "" && !userHeader.MatchString(p.UserHeader), slices.Contains(otherHeaders(), http.CanonicalHeaderKey(p.UserHeader)):
		return p, advice.Usage(fmt.Sprintf("ADMIN_USER_HEADER is %q", p.UserHeader), "give the name of a header with the user's name alone, such as X-Forwarded-User")
	}
	p.UserHeader = http.CanonicalHeaderKey(p.UserHeader)
	p.Roles, err = s.roles()
	return p, err
}

// userHeader matches the names of headers.
var userHeader = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// otherHeaders are headers that hold a secret, or that callers choose.
func otherHeaders() []string {
	return []string{"Authorization", "Proxy-Authorization", "Cookie", "Host", "User-Agent", "Referer", "Origin", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "X-Forwarded-Access-Token"}
}

func (s adminSettings) roles() (map[string]access.Role, error) {
	roles := map[string]access.Role{}
	if strings.TrimSpace(s.AdminUserRoles) == "" {
		return roles, nil
	}
	for i, entry := range entries(s.AdminUserRoles) {
		user, name, found := strings.Cut(entry, "=")
		role, err := access.ParseRole(trim(name))
		if user = trim(user); !found || err != nil || user == "" || roles[user] != 0 {
			return nil, advice.Usage(fmt.Sprintf("ADMIN_USER_ROLES: entry %d is not USER=ROLE, or names a user again", i+1),
				"write it as ann@example.com=operate,*=read; roles are read, operate and erase")
		}
		roles[user] = role
	}
	return roles, nil
}

// networksOf reads a list of networks.
func networksOf(setting, text string) (networks []netip.Prefix, err error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for i, entry := range entries(text) {
		prefix, err := parseNetwork(entry)
		if err != nil {
			return nil, advice.Usage(fmt.Sprintf("%s: entry %d, %q, is not a network", setting, i+1, entry), "%s", networkForm)
		}
		networks = append(networks, prefix)
	}
	return networks, nil
}
