package access

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle []byte

//nolint:gochecknoglobals // parsed once
var page = template.Must(template.New("page").Parse(pageText))

// pageData is what the template shows: the form to sign in, or a refusal alone.
type pageData struct {
	Title string
	Text  string // empty: none
	Form  bool
	Next  string // where to go after signing in
}

// maxForm bounds the body of the form, in bytes.
const maxForm = 16 << 10

// Register adds the routes of the sign-in page, /sign-in and /sign-out, which need
// no sign-in themselves.
func (g *Guard) Register(e *echo.Echo) {
	e.GET("/sign-in", g.showSignIn)
	e.GET("/sign-in.css", showStyle)
	e.POST("/sign-in", g.signIn)
	e.POST("/sign-out", g.signOut)
}

func (g *Guard) showSignIn(c echo.Context) error {
	if err := g.check(c); err != nil {
		return answer(c, err)
	}
	next := localPath(c.QueryParam("next"))
	if _, err := g.identify(c.Request()); err == nil {
		return c.Redirect(http.StatusSeeOther, next)
	}
	return writePage(c, http.StatusOK, pageData{Title: "Sign in", Form: true, Next: next})
}

func (g *Guard) signIn(c echo.Context) error {
	if err := g.check(c); err != nil {
		return answer(c, err)
	}
	r := c.Request()
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return answer(c, &refusal{http.StatusBadRequest, "invalid_form", "The form cannot be read", "Open /sign-in and try again."})
	}
	next := localPath(r.PostForm.Get("next"))
	from := g.proxies.address(r)
	t, err := g.try(strings.TrimSpace(r.PostForm.Get("token")), from)
	if err != nil {
		return g.refuseSignIn(c, err, next)
	}
	g.signIns.WithLabelValues(accepted).Inc()
	g.logger.Info("signed in to the dashboard", "name", t.Name, "role", t.Role.String(), "from", from)
	g.endSession(r)
	c.SetCookie(g.cookie(r, g.sessions.begin(t, g.now()), int(sessionLength.Seconds())))
	return c.Redirect(http.StatusSeeOther, next)
}

// refuseSignIn shows the form again, with the reason.
func (g *Guard) refuseSignIn(c echo.Context, err error, next string) error {
	var r *refusal
	if !errors.As(err, &r) || !isPage(c.Request()) {
		return answer(c, err)
	}
	if r.status == http.StatusTooManyRequests {
		c.Response().Header().Set("Retry-After", "60")
	}
	return writePage(c, r.status, pageData{Title: r.title, Text: r.detail, Form: true, Next: next})
}

func (g *Guard) signOut(c echo.Context) error {
	if err := g.check(c); err != nil {
		return answer(c, err)
	}
	r := c.Request()
	g.endSession(r)
	c.SetCookie(g.cookie(r, "", -1))
	return c.Redirect(http.StatusSeeOther, "/sign-in")
}

// endSession ends the session of a request, if it has one.
func (g *Guard) endSession(r *http.Request) {
	if cookie, err := r.Cookie(g.cookieName(r)); err == nil {
		g.sessions.end(cookie.Value)
	}
}

// cookieName is the name of the session's cookie. With the prefix __Host-, browsers
// accept it only over HTTPS and for this host, so no other host can set it.
func (g *Guard) cookieName(r *http.Request) string {
	if g.proxies.https(r) {
		return "__Host-lumin_session"
	}
	return "lumin_session"
}

// cookie is the session's cookie. It is not SameSite=Strict: then a link from an
// alert would ask people to sign in again. Changes from other sites are refused
// by other means.
func (g *Guard) cookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: g.cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: g.proxies.https(r), SameSite: http.SameSiteLaxMode,
	}
}

// signInURL is the sign-in page, which leads back to the requested page.
func signInURL(r *http.Request) string {
	if r.URL.RequestURI() == "/" {
		return "/sign-in"
	}
	return "/sign-in?next=" + url.QueryEscape(r.URL.RequestURI())
}

// localPath returns a path of this program to go to, or "/" for anything else.
// Browsers read "//host" and "/\host" as another host.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || len(next) > 2000 || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return "/"
	}
	return u.String()
}

// refusedPage shows a refusal to a person.
func refusedPage(c echo.Context, r *refusal) error {
	return writePage(c, r.status, pageData{Title: r.title, Text: r.detail})
}

func showStyle(c echo.Context) error {
	return c.Blob(http.StatusOK, "text/css; charset=utf-8", pageStyle)
}

func writePage(c echo.Context, status int, data pageData) error {
	var html bytes.Buffer
	if err := page.Execute(&html, data); err != nil {
		return err
	}
	return c.HTMLBlob(status, html.Bytes())
}
