package admin

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
)

// Config configures the admin listener. Every field is optional.
type Config struct {
	// Ready lists the checks that must all pass for /readyz to answer 200.
	// Without checks, the program is always ready.
	Ready []Check

	// Sources returns a line for each source, which /readyz shows. These lines
	// never make /readyz fail. nil: no lines.
	Sources func() []SourceLine

	// Warnings returns problems that do not prevent the program from working.
	// /readyz shows them. nil: no warnings.
	Warnings func() []string

	// Dashboard adds the routes of the dashboard, with their access control. It is
	// called with the first request for one of them, because the dashboard takes
	// more memory than the rest of an idle program. nil: no dashboard.
	Dashboard func(*echo.Echo)

	Gatherer prometheus.Gatherer // nil: no /metrics
	Logger   *slog.Logger        // nil: nothing is logged
}

// maxScrapes is how many scrapes run at once.
const maxScrapes = 4

// SourceLine shows whether deliveries of a source pass signature verification.
type SourceLine struct {
	Source          string
	LastVerified    time.Time // zero: no verified delivery is known
	MismatchesSince int64     // signature mismatches after LastVerified
}

// New returns the admin listener's handler.
func New(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := newEcho(cfg.Logger)
	e.GET("/healthz", healthy)
	e.HEAD("/healthz", healthy)
	ready := &readiness{checks: cfg.Ready, sources: cfg.Sources, warnings: cfg.Warnings, logger: cfg.Logger}
	e.GET("/readyz", ready.answer)
	e.HEAD("/readyz", ready.answer)
	if cfg.Gatherer != nil {
		e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
			ErrorLog:      slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelError),
			ErrorHandling: promhttp.ContinueOnError, // some metrics are better than none

			// Each scrape queries the database. Further ones are answered 503.
			MaxRequestsInFlight: maxScrapes,
		})))
	}
	if cfg.Dashboard != nil {
		dashboard := sync.OnceValue(func() http.Handler {
			e := newEcho(cfg.Logger)
			cfg.Dashboard(e)
			return e
		})
		e.Any("/*", func(c echo.Context) error {
			dashboard().ServeHTTP(c.Response(), c.Request())
			return nil
		})
	}
	return e
}

// newEcho returns a router without routes. Its answers have the headers of every
// answer of the listener.
func newEcho(logger *slog.Logger) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)         // we log through logger instead
	e.IPExtractor = echo.ExtractIPDirect() // callers can forge address headers
	e.HTTPErrorHandler = answerError(logger)
	e.Use(access.Headers, recoverPanics(logger))
	return e
}

func healthy(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// recoverPanics answers a panic with 500.
func recoverPanics(logger *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) (err error) {
			defer func() {
				if v := recover(); v != nil {
					logPanic(logger, v)
					err = echo.ErrInternalServerError
				}
			}()
			return next(c)
		}
	}
}

// logPanic logs only the type of the panic's value, because the value itself
// may contain event data. Errors of the Go runtime are logged in full, because
// they contain only indexes and types.
func logPanic(logger *slog.Logger, v any) {
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	logger.Error("panic on the admin listener", "panic", what, "stack", string(debug.Stack()))
}

// problemBody is the body of an error response, as defined by RFC 9457.
type problemBody struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// answerError maps every error to its response. It logs those that have no other
// explanation.
func answerError(logger *slog.Logger) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		status, code, detail := http.StatusInternalServerError, "internal_error", "The program failed; see its log for details."
		switch {
		case errors.Is(err, echo.ErrNotFound):
			status, code, detail = http.StatusNotFound, "not_found", "This path does not exist. Try /healthz, /readyz or /metrics."
		case errors.Is(err, echo.ErrMethodNotAllowed): // Echo has set Allow
			status, code, detail = http.StatusMethodNotAllowed, "method_not_allowed", "Use GET for this path."
		case !errors.Is(err, echo.ErrInternalServerError): // that of a panic, which is logged
			logger.Error("a request on the admin listener failed", "path", c.Path(), "error", redact.Text(errtext.OneLine(err)))
		}
		c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
		_ = c.JSON(status, problemBody{ // fails only if the caller has disconnected
			Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
		})
	}
}
