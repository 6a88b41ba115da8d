package pages

import (
	"context"
	"net/http"
	"testing"

	"lumin-ingest/store/once"
)

// The page for a change says what is known of it, and what to do.
func TestErrorsOfChanges(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err         error
		status      int
		title, text string
	}{
		"slow":        {context.DeadlineExceeded, http.StatusServiceUnavailable, "The database is slow", unsure},
		"no claim":    {claimError(context.DeadlineExceeded), http.StatusServiceUnavailable, "The database is slow", unchanged},
		"under way":   {claimError(once.ErrUnderWay), http.StatusConflict, "Under way", "This form was sent before, and is still being carried out. Wait a minute, then send it again: it counts once, and leads to what it did."},
		"other form":  {claimError(once.ErrOtherRequest), http.StatusBadRequest, "This form is invalid", "Its token is that of another form. Go back, and open the page again."},
		"not allowed": {errMayNot, http.StatusForbidden, "Not allowed", errMayNot.Text},
	} {
		shown := (&Pages{}).problemOf(&changeError{c.err, link{"Show the replays", "/replays"}})
		if shown.Status != c.status || shown.Title != c.title || shown.Text != c.text {
			t.Errorf("%s: %+v", name, shown)
		}
		if (shown.Do.Path == "/replays") != (c.text == unsure) {
			t.Errorf("%s leads to %q", name, shown.Do.Path)
		}
	}
}
