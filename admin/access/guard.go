package access

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

// Config configures a [Guard].
type Config struct {
	// Local says that the listener is bound to a loopback address. false: without
	// tokens and without proxies, every request is refused.
	Local bool

	// Tokens lists who may sign in. SetTokens replaces them. nil: no one, with a
	// token.
	Tokens []Token

	// Secured says that callers must sign in even while there is no token. false:
	// they must if there are tokens, or a header of a proxy, when the Guard is made.
	Secured bool

	// Proxies sign users in. The zero value: none.
	Proxies Proxies

	// Hosts lists the names under which browsers may reach the listener, without
	// port. nil: any name if a token or a proxy is needed; otherwise only loopback
	// names.
	Hosts []string

	Logger     *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // for the count of sign-ins; nil: it is not registered
	Now        func() time.Time      // nil: time.Now
}

// Guard decides about each request. Its methods are safe for concurrent use.
type Guard struct {
	local   bool
	secured bool // callers must sign in
	tokens  atomic.Pointer[[]Token]
	proxies Proxies
	hosts   []string
	logger  *slog.Logger
	signIns *prometheus.CounterVec
	now     func() time.Time

	sessions sessions
	attempts *attempts
	origin   *http.CrossOriginProtection
}

// New returns a Guard.
func New(cfg Config) *Guard {
	g := &Guard{
		local: cfg.Local, secured: cfg.Secured || len(cfg.Tokens) > 0 || cfg.Proxies.UserHeader != "", proxies: cfg.Proxies,
		logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), now: cfg.Now,
		attempts: newAttempts(), origin: http.NewCrossOriginProtection(),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lumin_admin_sign_ins_total",
			Help: "Tokens that were sent to the admin listener, by result: accepted began a session, refused and limited did not pass.",
		}, []string{"result"}),
	}
	if g.now == nil {
		g.now = time.Now
	}
	for _, host := range cfg.Hosts {
		g.hosts = append(g.hosts, strings.ToLower(strings.TrimSuffix(host, ".")))
	}
	for _, result := range []string{accepted, refused, limited} {
		g.signIns.WithLabelValues(result) // a rate needs a 0 to begin with
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(g.signIns)
	}
	g.SetTokens(cfg.Tokens)
	return g
}

// Results of an attempt to sign in.
const (
	accepted = "accepted"
	refused  = "refused"
	limited  = "limited"
)

// SetTokens replaces the tokens. Sessions of tokens that are no longer there end.
func (g *Guard) SetTokens(tokens []Token) { g.tokens.Store(&tokens) }

// open reports whether any local caller may do everything.
func (g *Guard) open() bool { return g.local && !g.secured }

// Off reports whether every request is refused, because no one can sign in and the
// listener is not bound to a loopback address.
func (g *Guard) Off() bool { return !g.local && !g.secured }

// Protect is middleware that lets only those requests pass that the package comment
// allows. It puts the caller into the context of the request.
func (g *Guard) Protect(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := g.check(c); err != nil {
			return answer(c, err)
		}
		r := c.Request()
		caller, err := g.identify(r)
		if err != nil {
			if errors.Is(err, errNotSignedIn) && isPage(r) && r.Method == http.MethodGet {
				return c.Redirect(http.StatusSeeOther, signInURL(r))
			}
			return answer(c, err)
		}
		c.SetRequest(r.WithContext(With(r.Context(), caller)))
		return next(c)
	}
}

// Require returns middleware that refuses callers whose role is lower. It goes
// behind [Guard.Protect].
func Require(needed Role) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if caller := From(c.Request().Context()); !caller.Role.May(needed) {
				return answer(c, lacks(caller, needed))
			}
			return next(c)
		}
	}
}

// Changes returns middleware that refuses callers below the role operate, unless the
// method only reads or the route is one of the given ones. It goes behind
// [Guard.Protect].
func Changes(except ...string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		change := Require(Operate)(next)
		return func(c echo.Context) error {
			method := c.Request().Method
			if method == http.MethodGet || method == http.MethodHead || slices.Contains(except, c.Path()) {
				return next(c)
			}
			return change(c)
		}
	}
}

// check refuses requests before it is known who calls.
func (g *Guard) check(c echo.Context) error {
	r := c.Request()
	switch {
	case g.Off():
		return errOff
	case !g.hostAllowed(r.Host):
		return errHost
	case g.open() && g.forwarded(r):
		return errForwarded
	case g.origin.Check(r) != nil:
		return errCrossOrigin
	}
	return nil
}

// localUser is the name of every caller if no one has to sign in.
const localUser = "local user"

// identify finds out who calls.
func (g *Guard) identify(r *http.Request) (Caller, error) {
	from := g.proxies.address(r)
	if g.open() {
		return Caller{Name: localUser, Role: Erase, From: from}, nil
	}
	header := r.Header.Values("Authorization")
	secret, isBearer := bearer(header)
	if user, ok := g.proxies.user(r); ok {
		// The header Authorization may be for the proxy, or of the proxy. It counts
		// only if it is one of our tokens.
		if t, ok := find(*g.tokens.Load(), secret); ok && isBearer {
			return Caller{Name: t.Name, Role: t.Role, From: from}, nil
		}
		return Caller{Name: user, Role: g.proxies.role(user), From: from, Proxied: true}, nil
	}
	if len(header) > 0 {
		if !isBearer {
			return Caller{}, errScheme
		}
		t, err := g.try(secret, from)
		return Caller{Name: t.Name, Role: t.Role, From: from}, err
	}
	if cookie, err := r.Cookie(g.cookieName(r)); err == nil {
		if t, ok := g.sessions.find(cookie.Value, *g.tokens.Load(), g.now()); ok {
			return Caller{Name: t.Name, Role: t.Role, From: from, Session: true}, nil
		}
	}
	return Caller{}, errNotSignedIn
}

// bearer returns the token of the only Authorization header.
func bearer(header []string) (secret string, ok bool) {
	if len(header) != 1 {
		return "", false
	}
	scheme, secret, found := strings.Cut(header[0], " ")
	return strings.TrimSpace(secret), found && strings.EqualFold(scheme, "Bearer")
}

// try looks up a token that a caller presents. The result is counted, and a failure
// is logged without the token.
func (g *Guard) try(secret, from string) (Token, error) {
	t, ok := find(*g.tokens.Load(), secret)
	if ok && g.attempts.worked(from, t.Hash) {
		return t, nil
	}
	// A token may have been chosen by a person, so the limit of an address also holds
	// for one that is right: it could be a guess. The limit of all addresses does not:
	// strangers would lock everyone out.
	if !g.attempts.allowed(from, g.now()) || !ok && !g.attempts.failed(from, g.now()) {
		g.signIns.WithLabelValues(limited).Inc()
		return Token{}, errLimited
	}
	if !ok {
		g.signIns.WithLabelValues(refused).Inc()
		g.logger.Warn("a token was refused on the admin listener", "from", from)
		return Token{}, errToken
	}
	g.attempts.succeeded(from, t.Hash, g.now())
	return t, nil
}
