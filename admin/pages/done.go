package pages

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
)

// doneCookie carries the result of an action to the next page, which shows it
// once. It is not in the address, so no link can claim that something was done.
const doneCookie = "lumin_done"

// showDone returns to a page, which shows what was done.
func showDone(c echo.Context, o outcome) error {
	c.SetCookie(&http.Cookie{
		Name: doneCookie, Value: url.QueryEscape(o.Text), Path: "/", MaxAge: 60, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	return seeOther(c, localPath(o.Path))
}

// takeDone returns the text of the cookie, and deletes the cookie.
func takeDone(c echo.Context) string {
	cookie, err := c.Cookie(doneCookie)
	if err != nil || c.Request().Header.Get("Accept") == "text/html" { // the script refreshes a page
		return ""
	}
	c.SetCookie(&http.Cookie{Name: doneCookie, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	text, err := url.QueryUnescape(cookie.Value)
	if err != nil {
		return ""
	}
	return clip(500, text)
}
