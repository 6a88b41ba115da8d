package pages

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/operate"
)

// changeError is the error of a form that changes something.
type changeError struct {
	error
	evidence link
}

// Unwrap returns the cause.
func (e *changeError) Unwrap() error { return e.error }

// evidence is the page that shows whether the change of a form was made.
func evidence(c echo.Context) link {
	switch c.Path() {
	case "/plan":
		if c.FormValue("do") == doReplay {
			return link{"Show the replays", "/replays"}
		}
		return link{"Show the runs", localPath(c.FormValue("back"))}
	case "/replays/:id/cancel":
		return link{"Show the replay", "/replays/" + c.Param("id")}
	case "/follow-ups/retry":
		return link{"Show the failures", "/failures"}
	case "/lanes/skip":
		return link{"Show the lanes", "/lanes"}
	case "/queues/:name":
		return link{"Show the queues", "/queues"}
	}
	return link{"Show the conflict", c.Request().URL.Path}
}

// What is known of a change that an error of the program or of the database has ended.
const (
	unchanged = "Nothing was changed. Send the form again when the database answers. The log of the program has the reason."
	unsure    = "The change may have been carried out, even if the audit log calls it failed: perhaps only the answer of the database was lost. " +
		"Look whether it was, before you order it again. The log of the program has the reason."
)

// problem is the page for such a change.
func (e *changeError) problem(p problem) *problem {
	known := errors.Is(e, operate.ErrNothingChanged)
	if p.Status == http.StatusInternalServerError {
		p.Title = map[bool]string{true: "Nothing was changed", false: "It is not known whether the change was made"}[known]
	}
	if known {
		p.Text = unchanged
		return &p
	}
	p.Text, p.Do = unsure, e.evidence
	return &p
}
