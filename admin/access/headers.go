package access

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// ContentSecurityPolicy is the policy of every response: scripts, styles, pictures
// and requests only from this program, forms only to it, and no framing.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Headers sets the headers of every response. Files that never change may set
// another Cache-Control.
//
// With Referrer-Policy no-referrer, browsers would send "Origin: null" with a form,
// and the form would look like one of another site.
func Headers(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		SetHeaders(c.Response().Header())
		return next(c)
	}
}

// SetHeaders sets the headers of [Headers].
func SetHeaders(h http.Header) {
	h.Set("Content-Security-Policy", ContentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
