package admin

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config is what the admin listener shows. All of it may be left out.
type Config struct {
	// Ready must all pass for /readyz to answer 200. None: always ready.
	Ready []Check

	// Sources returns a line for each source, for /readyz. They never make it
	// fail. nil: no lines.
	Sources func() []SourceLine

	// Warnings returns what is wrong although the program is ready, for /readyz.
	// nil: no warnings.
	Warnings func() []string

	Gatherer prometheus.Gatherer // nil: no /metrics
	Logger   *slog.Logger        // nil: nothing is logged
}

// SourceLine says whether what arrives for a source can be verified.
type SourceLine struct {
	Source          string
	LastVerified    time.Time // zero: none is known of
	MismatchesSince int64     // signature mismatches after LastVerified
}

// New returns the admin listener's handler.
func New(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)         // what there is to say goes to our own log
	e.IPExtractor = echo.ExtractIPDirect() // headers about the caller's address can be made up
	e.HTTPErrorHandler = answerError
	e.Use(recoverPanics(cfg.Logger))

	e.GET("/healthz", healthy)
	e.HEAD("/healthz", healthy)
	ready := &readiness{checks: cfg.Ready, sources: cfg.Sources, warnings: cfg.Warnings, logger: cfg.Logger}
	e.GET("/readyz", ready.answer)
	e.HEAD("/readyz", ready.answer)
	if cfg.Gatherer != nil {
		e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
			ErrorLog:      slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelError),
			ErrorHandling: promhttp.ContinueOnError, // most figures are better than none
		})))
	}
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

// logPanic tells a panic's value by its type, because the value itself may hold
// data of events. Those of the Go runtime are about indexes and types.
func logPanic(logger *slog.Logger, v any) {
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	logger.Error("panic on the admin listener", "panic", what, "stack", string(debug.Stack()))
}

// problemBody is the body of an error, after RFC 9457.
type problemBody struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// answerError maps every error to its answer.
func answerError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	status, code, detail := http.StatusInternalServerError, "internal_error", "This is a fault of the program; its log has more."
	switch {
	case errors.Is(err, echo.ErrNotFound):
		status, code, detail = http.StatusNotFound, "not_found", "There is nothing at this path. Try /healthz, /readyz or /metrics."
	case errors.Is(err, echo.ErrMethodNotAllowed): // Echo has set Allow
		status, code, detail = http.StatusMethodNotAllowed, "method_not_allowed", "This path is read with GET."
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	_ = c.JSON(status, problemBody{ // fails when the caller has gone
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
	})
}
