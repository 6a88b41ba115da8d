package pages

import (
	"context"
	"errors"
	"net/http"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

// problem is an error page: what happened, and what to do.
type problem struct {
	Status int
	Title  string
	Text   string
	Do     link // the link to what to do next; optional
}

// Error implements error.
func (p *problem) Error() string { return p.Title + ": " + p.Text }

var (
	errNoPage = &problem{Status: http.StatusNotFound, Title: "No such page", Text: "The address may be misspelled, or what it showed has been removed.", Do: link{"Go to the overview", "/"}}

	errMayNot = &problem{Status: http.StatusForbidden, Title: "Not allowed", Text: "This needs the role operate. You are signed in with the role read."}
)

// badRequest is a request that no page of ours makes.
func badRequest(text string) error {
	return &problem{Status: http.StatusBadRequest, Title: "This address is invalid", Text: text, Do: link{"Go to the overview", "/"}}
}

// badForm is a form that was sent with a field missing or invalid.
func badForm(text string) error {
	return &problem{Status: http.StatusBadRequest, Title: "This form is invalid", Text: text, Do: link{"Go to the overview", "/"}}
}

// answerErrors answers errors of pages with a page.
func (p *Pages) answerErrors(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if err == nil || c.Response().Committed {
			return err
		}
		shown := p.problemOf(err)
		if shown.Status >= http.StatusInternalServerError || hasCode(err, pgerrcode.InsufficientPrivilege) {
			p.cfg.Logger.Error("a page could not be shown", "path", c.Path(), "error", redact.Text(errtext.OneLine(err)))
		}
		return p.showStatus(c, shown.Status, "problem", view{Title: shown.Title, Data: shown})
	}
}

// problemOf describes an error.
func (p *Pages) problemOf(err error) *problem {
	shown := describe(err)
	var change *changeError
	if errors.As(err, &change) && shown.Status >= http.StatusInternalServerError {
		return change.problem(*shown)
	}
	return shown
}

// describe describes the error of a page. The text of an unknown error may hold
// anything, so only the log has it.
func describe(err error) *problem {
	var shown *problem
	var refused *echo.HTTPError
	var refusedValue *pgconn.PgError
	var away *pgconn.ConnectError
	switch {
	case errors.As(err, &shown):
		return shown
	case errors.Is(err, store.ErrNotFound):
		return &problem{Status: http.StatusNotFound, Title: "Not found", Text: "It may have been removed by retention or an erasure.", Do: link{"Go to the overview", "/"}}
	case errors.Is(err, operate.ErrInternalQueue):
		return &problem{Status: http.StatusConflict, Title: "Not paused", Text: capitalized(err.Error()) + ".", Do: link{"Show the queues", "/queues"}}
	case errors.As(err, &refused) && refused.Code < http.StatusInternalServerError:
		return &problem{Status: refused.Code, Title: http.StatusText(refused.Code), Text: "The program does not answer this request.", Do: link{"Go to the overview", "/"}}
	case hasCode(err, pgerrcode.InsufficientPrivilege):
		return &problem{Status: http.StatusForbidden, Title: "The program may not read this", Text: "The database role of this program lacks a right. Grant it the role lumin_admin to use all pages; the log names the missing right."}
	case errors.As(err, &refusedValue) && pgerrcode.IsDataException(refusedValue.Code):
		return &problem{Status: http.StatusBadRequest, Title: "This address is invalid", Text: "A part of it is out of range, or has characters that the database cannot hold.", Do: link{"Go to the overview", "/"}}
	case errors.As(err, &away):
		return &problem{Status: http.StatusServiceUnavailable, Title: "The database does not answer", Text: "Deliveries are refused meanwhile, and Lumin repeats them. Check the database, then reload this page.", Do: link{"Show the readiness checks", "/readyz"}}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{Status: http.StatusServiceUnavailable, Title: "The database is slow", Text: "The page was not ready within 10 seconds. Deliveries have connections of their own. Reload the page, or look for what keeps the database busy.", Do: link{"Show the readiness checks", "/readyz"}}
	}
	return &problem{Status: http.StatusInternalServerError, Title: "The page failed", Text: "The log of the program has the reason.", Do: link{"Go to the overview", "/"}}
}

// hasCode reports whether PostgreSQL returned an error with this code.
func hasCode(err error, code string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == code
}
