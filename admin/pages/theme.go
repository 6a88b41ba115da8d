package pages

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// themeCookie holds the theme that a person has chosen. Without it the pages
// follow the system.
const themeCookie = "lumin_theme"

// theme returns the chosen theme: light, dark or empty.
func theme(c echo.Context) string {
	cookie, err := c.Cookie(themeCookie)
	if err != nil || cookie.Value != "light" && cookie.Value != "dark" {
		return ""
	}
	return cookie.Value
}

// setTheme stores the theme of a form in a cookie, and returns to its page. It
// answers GET, because readers may not send anything else.
func (p *Pages) setTheme(c echo.Context) error {
	cookie := &http.Cookie{
		Name: themeCookie, Value: c.QueryParam("theme"), Path: "/",
		MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if cookie.Value != "light" && cookie.Value != "dark" {
		cookie.Value, cookie.MaxAge = "", -1
	}
	c.SetCookie(cookie)
	return seeOther(c, localPath(c.QueryParam("back")))
}

// localPath returns a path of this listener, or the overview's for anything
// else: another host's address could hide behind a slash or a backslash.
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}
