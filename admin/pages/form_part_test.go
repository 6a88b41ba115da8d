package pages

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

// A form that was carried out in part goes on when it is sent again, with the same mark.
func TestFormCarriedOutInPart(t *testing.T) {
	t.Parallel()
	st, err := store.New(pgtest.Pool(t, pgtest.New(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var marks []string
	act := New(Config{Store: st, Operator: operate.New(st)}).operating(func(c echo.Context, _ operate.Actor, _ string) error {
		marks = append(marks, formOf(c).mark)
		if len(marks) == 1 {
			return doneInPart(c, "2 runs so far.", "/failures")
		}
		return done(c, "3 runs.", "/failures")
	})
	form := url.Values{"token": {newToken()}}
	for _, want := range []string{"2+runs+so+far.", "3+runs.", "The+first+time%3A+3+runs."} {
		request := httptest.NewRequest(http.MethodPost, "/plan", strings.NewReader(form.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		if err := act(echo.New().NewContext(request, answer)); err != nil {
			t.Fatal(err)
		}
		if cookie := answer.Header().Get("Set-Cookie"); !strings.Contains(cookie, want+";") || answer.Header().Get("Location") != "/failures" {
			t.Errorf("shows %s", cookie)
		}
	}
	if len(marks) != 2 || marks[0] != marks[1] || marks[0] == "" {
		t.Errorf("carried out with the marks %q", marks)
	}
}
