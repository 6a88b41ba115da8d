package app

import (
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/rogpeppe/go-internal/testscript"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/once"
)

// TestScriptsOnServer runs the scripts of operators once more. Their commands use the
// API of a server on the database, and must print the same bytes. keys is not among
// them: it shows what is configured at the server. See keys_server.txtar.
func TestScriptsOnServer(t *testing.T) {
	t.Parallel()
	var files []string
	for _, name := range []string{"conflicts", "erase", "events", "follow_ups", "lanes", "late", "queues", "replay"} {
		files = append(files, filepath.Join("testdata", name+".txtar"))
	}
	testscript.Run(t, scriptParams(testscript.Params{Files: files}, true))
}

// serveAPI serves the API of a database, to callers who may do everything. It has
// the rights of lumin_admin, and of nothing else.
func serveAPI(tb testing.TB, databaseURL string) string {
	tb.Helper()
	st, err := store.New(pgtest.Pool(tb, databaseURL), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	e := echo.New()
	g := e.Group(api.Prefix, func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			ctx := access.With(c.Request().Context(), access.Caller{Name: "script", Role: access.Erase, From: "192.0.2.1"})
			c.SetRequest(c.Request().WithContext(ctx))
			return next(c)
		}
	})
	api.Register(e, g, api.Config{Window: window.New(st), Orders: once.New(st.Pool()), Logger: slog.New(slog.DiscardHandler)})
	server := httptest.NewServer(e)
	tb.Cleanup(server.Close)
	return server.URL
}
