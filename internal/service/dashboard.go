package service

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/api"
	"lumin-ingest/admin/pages"
	"lumin-ingest/admin/river"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/once"
	"lumin-ingest/store/operate"
)

// dashboard returns the routes of the dashboard, of its API and of River UI, all
// behind one guard.
func (s *Service) dashboard(ctx context.Context) (func(*echo.Echo), error) {
	url := cmp.Or(s.cfg.AdminDatabaseURL, s.cfg.DatabaseURL)
	st, err := s.openStoreAt(ctx, url, "pages", pagesPool())
	if err != nil {
		return nil, err
	}
	ofRiverUI, err := s.openPoolAt(ctx, url, "river_ui", riverUIPool())
	if err != nil {
		return nil, err
	}
	s.guard = access.New(access.Config{
		Local: isLoopback(s.cfg.Admin.HostPort), Tokens: s.cfg.AdminTokens, Secured: s.cfg.ReadAdminTokens != nil, Proxies: s.cfg.AdminProxies, Hosts: s.cfg.AdminHosts,
		Logger: s.cfg.Logger, Registerer: s.registry,
	})
	return func(e *echo.Echo) {
		s.guard.Register(e)
		operator := operate.New(st)
		api.Register(e, e.Group(api.Prefix, s.guard.Protect), api.Config{
			Window: window.New(st), Orders: once.New(st.Pool()), Logger: s.cfg.Logger, Sources: s.apiSources,
		})
		if queue, err := river.New(river.Config{Pool: ofRiverUI, Operator: operator, Logger: s.cfg.Logger}); err != nil { // a fault of the program
			s.cfg.Logger.Error("River UI is missing", "error", err)
		} else {
			queue.Register(e.Group(river.Prefix, s.guard.Protect, access.Changes()))
		}
		pages.New(pages.Config{
			Store: st, Operator: operator, Warnings: s.warnings, Sources: s.pageSources, Caller: pageCaller, Logger: s.cfg.Logger,
		}).Register(e.Group("", s.guard.Protect, access.Changes("/theme")))
	}, nil
}

// pageCaller describes the caller that the guard has let pass.
func pageCaller(ctx context.Context) pages.Caller {
	c := access.From(ctx)
	return pages.Caller{
		Name: c.Name, From: c.From, MayOperate: c.Role.May(access.Operate), MayErase: c.Role.May(access.Erase), SignedIn: c.Session,
	}
}

// isLoopback reports whether only this machine can reach a listener.
func isLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// dashboardState says for the log who may use the dashboard.
func (s *Service) dashboardState() string {
	switch {
	case s.guard.Off():
		return "off: set ADMIN_TOKENS"
	case len(s.cfg.AdminTokens) > 0 || s.cfg.ReadAdminTokens != nil || s.cfg.AdminProxies.UserHeader != "":
		return "needs a sign-in"
	}
	return "open to this machine"
}

// watchTokens compares the file of tokens with the tokens in use.
func (s *Service) watchTokens() *watch[[]access.Token] {
	w := &watch[[]access.Token]{
		what: "tokens of the dashboard", read: s.cfg.ReadAdminTokens, timeout: s.cfg.SourcesTimeout, logger: s.cfg.Logger, valid: s.cfg.AdminTokens,
		same:  func(a, b []access.Token) bool { return slices.Equal(a, b) },
		about: func(tokens []access.Token) []any { return []any{"names", tokenNames(tokens)} },
	}
	w.use = func(_ context.Context, tokens []access.Token) error {
		s.guard.SetTokens(tokens)
		s.cfg.Logger.Info("the tokens of the dashboard have changed", "names", tokenNames(tokens))
		return nil
	}
	return w
}

func tokenNames(tokens []access.Token) []string {
	names := make([]string, 0, len(tokens))
	for _, t := range tokens {
		names = append(names, t.Name)
	}
	return names
}

// pageSources describes the sources that this program receives.
func (s *Service) pageSources() (lines []pages.SourceLine) {
	if s.handler == nil {
		return nil
	}
	for _, status := range s.handler.Sources() {
		lines = append(lines, pages.SourceLine{
			Source: status.Source, LastVerified: status.LastVerified, MismatchesSince: status.MismatchesSince,
			KeyIDs: s.handler.KeyIDs(status.Source),
		})
	}
	return lines
}

// apiSources is pageSources for the API.
func (s *Service) apiSources() (uses []api.SourceUse) {
	for _, line := range s.pageSources() {
		use := api.SourceUse{Source: line.Source, MismatchesSince: line.MismatchesSince, KeyIDs: line.KeyIDs}
		if !line.LastVerified.IsZero() {
			use.LastVerified = &line.LastVerified
		}
		uses = append(uses, use)
	}
	return uses
}
