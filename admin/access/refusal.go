package access

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// refusal is the reason why a request is refused, with what to do.
type refusal struct {
	status int
	code   string
	title  string // what went wrong
	detail string // what to do
}

func (r *refusal) Error() string { return r.title }

var (
	errOff = &refusal{http.StatusForbidden, "dashboard_off", "The dashboard is off",
		"This listener is reachable from other machines, so the dashboard and its API need a token. Make one with \"lumin-ingest token new --name YOU --role operate\", " +
			"put its line into ADMIN_TOKENS or into a file that ADMIN_TOKENS_FILE names, and restart the program. Health and metrics work without it: /healthz, /readyz and /metrics."}
	errHost = &refusal{http.StatusForbidden, "host_not_allowed", "This name is not allowed",
		"The request is for a host name that does not belong to this program. Use localhost or 127.0.0.1, or add the name to ADMIN_HOSTS."}
	errForwarded = &refusal{http.StatusForbidden, "forwarded", "A proxy has forwarded this request",
		"Without a token, only callers on this machine may use the dashboard, and a proxy hides who calls. Set ADMIN_TOKENS, or ADMIN_TRUSTED_PROXIES with ADMIN_USER_HEADER."}
	errCrossOrigin = &refusal{http.StatusForbidden, "cross_site", "The request comes from another site",
		"A page of another site has sent this change, so it was not carried out. Open the dashboard and make the change there."}
	errNotSignedIn = &refusal{http.StatusUnauthorized, "not_signed_in", "You are not signed in",
		"Sign in at /sign-in, or send the header \"Authorization: Bearer TOKEN\"."}
	errScheme = &refusal{http.StatusUnauthorized, "not_signed_in", "The header Authorization is not understood",
		"Send one header \"Authorization: Bearer TOKEN\"."}
	errToken = &refusal{http.StatusUnauthorized, "wrong_token", "This token is not valid",
		"Check that it was copied in full, and that its line is still in ADMIN_TOKENS or ADMIN_TOKENS_FILE."}
	errLimited = &refusal{http.StatusTooManyRequests, "too_many_attempts", "Too many attempts with a wrong token",
		"Wait a minute, then try again."}
)

// lacks refuses a caller whose role is too low.
func lacks(c Caller, needed Role) error {
	return &refusal{http.StatusForbidden, "role_missing", fmt.Sprintf("This needs the role %s", needed),
		fmt.Sprintf("%s has the role %s. Sign in with a token of the role %s, or ask someone who has one.", c.Name, c.Role, needed)}
}

// isPage reports whether a request is for a page that a person reads.
func isPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && !strings.HasPrefix(r.URL.Path, "/river/api/") &&
		strings.Contains(r.Header.Get("Accept"), "text/html")
}

// answer writes a refusal as a page for people, or as a problem (RFC 9457) for
// programs.
func answer(c echo.Context, err error) error {
	var r *refusal
	if !errors.As(err, &r) {
		return err
	}
	switch r.status {
	case http.StatusUnauthorized:
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="lumin-ingest"`)
	case http.StatusTooManyRequests:
		c.Response().Header().Set("Retry-After", "60")
	}
	if isPage(c.Request()) {
		return refusedPage(c, r)
	}
	body, err := json.Marshal(map[string]any{"type": "about:blank", "title": r.title, "status": r.status, "code": r.code, "detail": r.detail})
	if err != nil {
		return err
	}
	return c.Blob(r.status, "application/problem+json", body)
}
