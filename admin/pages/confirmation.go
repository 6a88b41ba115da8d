package pages

import (
	"cmp"
	"context"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// confirmation is the page between a button and its action: it shows what would
// happen, asks why, and has the button that does it.
type confirmation struct {
	Title   string
	Section string
	Back    link // the page that asked

	Points  []string     // what the action does, in sentences
	Facts   []fact       // what it acts on
	Plan    *replay.Plan // the runs that it acts on; nil: it acts on no runs
	Exactly string       // path of this page with an exact plan; empty if the plan is exact
	Nothing string       // why there is nothing to do; then there is no button

	Action      string // text of the button
	Path        string // of the form
	Token       string // of the form; confirm sets it
	Fields      []field
	Danger      bool // the action repeats or loses something
	Works       bool // the action has the runs worked, so the plan says how long that takes
	NeedsReason bool
	AsksRate    bool
}

// field is a hidden field of a form.
type field struct{ Name, Value string }

// fact is a line of what an action acts on.
type fact struct {
	Name, Text string
	Path       string // a link; optional
	Error      bool   // the text is an error
}

// confirm shows a confirmation.
func (p *Pages) confirm(c echo.Context, a confirmation) error {
	a.Token = newToken()
	return p.show(c, "confirmation", view{Title: a.Title, Section: a.Section, Crumbs: []link{a.Back}, Data: a})
}

// maxForm bounds the body of a form, in bytes: a filter with many ids.
const maxForm = 1 << 20

// actorOf is who makes a change, for the audit log.
func actorOf(caller Caller) operate.Actor {
	return operate.Actor{Name: cmp.Or(caller.Name, "local"), From: caller.From, Via: operate.Dashboard}
}

// actionTimeout is how long an action may take. It is shorter than the listener's
// limit for an answer.
const actionTimeout = 25e9

// actionContext is the context of an action. The reader may leave: it goes on.
func actionContext(c echo.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Request().Context()), actionTimeout)
}
