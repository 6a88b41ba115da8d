package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/internal/tracing"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Config is what a [Handler] needs. Sources, Record, Route and Logger must be
// set. The functions must be safe for concurrent use.
type Config struct {
	// Sources maps the name of each webhook to its keyring. A name is
	// "account", or "app:NAME" with a NAME of 1 to 63 characters out of a–z,
	// 0–9 and hyphen. At least one webhook is required.
	Sources map[string]*lumin.Keyring

	// Record commits a delivery: [store.Recorder.Record].
	Record func(context.Context, store.Delivery) (store.Receipt, error)

	// Route returns the jobs for a recognized event of this source and type:
	// one for each job type that subscribes to it.
	Route func(source string, t lumin.EventType) []store.JobSpec

	// MaxEventAge is the age above which recognized events are refused. 0 means
	// no limit. Any other value must be at least MinEventAge, because Lumin's
	// last retry comes 30 h 20 min after the first attempt.
	MaxEventAge time.Duration

	// StoreLate records events above MaxEventAge as late instead of refusing
	// them. They get no jobs, because a person decides about them.
	StoreLate bool

	// MaxBodyMemory limits the memory of all bodies that are being read or
	// recorded, in bytes. 0 means DefaultBodyMemory, and any other value below
	// MinBodyMemory is invalid. The first 16 KiB of a body are not counted, so
	// small deliveries always pass.
	MaxBodyMemory int64

	// TrustedProxies lists the networks whose X-Forwarded-For is trusted. The
	// header is used only for the caller's address in the log. Empty: the
	// header is ignored.
	TrustedProxies []netip.Prefix

	// Answered is called for each delivery after its response was sent. It must not
	// block, and must be safe for concurrent use. nil: it is not called.
	Answered func(Answered)
	// Tracer makes a span of each verified delivery. nil: there are none.
	Tracer *tracing.Tracer

	Now        func() time.Time      // nil: time.Now
	Logger     *slog.Logger          // receives one line per delivery, panics, and alarms about signatures
	Registerer prometheus.Registerer // nil: metrics are not registered
}

// Answered is a request to the listener that was answered, for [Config.Answered].
type Answered struct {
	Source   string // a configured one, or "unknown"
	Result   string // as in the metric lumin_deliveries_total
	Reason   string // the code of a response other than 200; otherwise empty
	Verified bool   // the signature was valid

	// Took is the time from the header of the request to the response. Callers who
	// do not know a key can distort it.
	Took time.Duration
}

// MinEventAge is the minimum of [Config.MaxEventAge]. It refuses none of
// Lumin's retries, because it exceeds [lumin.RetryWindow] plus six times the 30
// s that Lumin may wait for a response.
const MinEventAge = 31 * time.Hour

// recordTimeout limits the recording. Together with readTimeout it is less than
// the 30 s that Lumin waits for a response.
const recordTimeout = 10 * time.Second

// Handler is the public listener's HTTP handler.
type Handler struct {
	echo    *echo.Echo
	sources atomic.Pointer[map[string]*source] // the map is replaced, never modified
	metrics *metrics
	logger  *slog.Logger
	now     func() time.Time
	budget  budget // of all bodies
	tracer  *tracing.Tracer

	record        func(context.Context, store.Delivery) (store.Receipt, error)
	recordTimeout time.Duration
	route         func(string, lumin.EventType) []store.JobSpec
	maxEventAge   time.Duration
	storeLate     bool
	answered      func(Answered)
}

// New returns a Handler. The error says what is invalid in cfg.
func New(cfg Config) (*Handler, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	h := &Handler{
		logger:        cfg.Logger,
		now:           cfg.Now,
		record:        cfg.Record,
		recordTimeout: recordTimeout,
		route:         cfg.Route,
		maxEventAge:   cfg.MaxEventAge,
		storeLate:     cfg.StoreLate,
		answered:      cfg.Answered,
		tracer:        cfg.Tracer,
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.budget.limit = cmp.Or(cfg.MaxBodyMemory, DefaultBodyMemory)
	h.metrics = newMetrics(h.sortedSources, &h.budget)
	h.swapSources(cfg.Sources)
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(h.metrics); err != nil {
			return nil, fmt.Errorf("ingest: register metrics: %w", err)
		}
	}
	h.echo = h.routes(callerAddress(cfg.TrustedProxies))
	return h, nil
}

func (cfg Config) check() error {
	if err := checkSources(cfg.Sources); err != nil {
		return err
	}
	switch {
	case cfg.MaxBodyMemory != 0 && cfg.MaxBodyMemory < MinBodyMemory:
		return fmt.Errorf("a body memory of %d bytes is too small: set MaxBodyMemory to %d or more, or to 0 for the default of %d",
			cfg.MaxBodyMemory, MinBodyMemory, DefaultBodyMemory)
	case cfg.Record == nil:
		return errors.New("the function that records deliveries is missing: set Record")
	case cfg.Route == nil:
		return errors.New("the function that routes events is missing: set Route")
	case cfg.Logger == nil:
		return errors.New("the logger is missing: set Logger")
	case cfg.MaxEventAge < 0, cfg.MaxEventAge > 0 && cfg.MaxEventAge < MinEventAge:
		return fmt.Errorf("a maximum event age of %v would refuse Lumin's own retries, which come up to %v after the first attempt: set %v or more, or 0 for no limit",
			cfg.MaxEventAge, lumin.RetryWindow, MinEventAge)
	}
	return nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.echo.ServeHTTP(w, r) }

func (h *Handler) routes(address echo.IPExtractor) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard) // we log through h.logger instead
	e.IPExtractor = address
	e.HTTPErrorHandler = func(err error, c echo.Context) { h.finish(c, err) }
	e.Use(h.begin)

	// Users easily enter a trailing slash at Lumin, so it is accepted. A path
	// parameter includes it.
	account := func(echo.Context) string { return store.AccountSource }
	h.webhook(e, "/webhooks/account", account)
	h.webhook(e, "/webhooks/account/", account)
	h.webhook(e, "/webhooks/apps/:app", func(c echo.Context) string { return "app:" + strings.TrimSuffix(c.Param("app"), "/") })
	e.GET("/healthz", healthy)
	e.HEAD("/healthz", healthy)
	e.RouteNotFound("/healthz", func(echo.Context) error { return errMethodNotAllowed{allow: "GET, HEAD"} })
	return e
}

// webhook receives deliveries on path, from the source that name returns.
func (h *Handler) webhook(e *echo.Echo, path string, name func(echo.Context) string) {
	e.POST(path, func(c echo.Context) error {
		d, source := deliveryOf(c), name(c)
		if d.source = (*h.sources.Load())[source]; d.source == nil {
			d.tried = source
		}
		return h.receive(c)
	})
	// Refuse all other methods. Otherwise, Echo would answer OPTIONS with 204.
	e.RouteNotFound(path, func(echo.Context) error { return errMethodNotAllowed{allow: "POST"} })
}

func healthy(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// begin puts a fresh delivery into the context and turns a panic into an error.
func (h *Handler) begin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		d := &delivery{receivedAt: h.now()}
		c.Set(deliveryKey, d)
		defer func() {
			h.budget.recycle(d.spare)
			h.budget.give(d.held)
		}()
		defer func() {
			if v := recover(); v != nil {
				what, stack := describePanic(v), string(debug.Stack())
				d.lines = append(d.lines, func() { h.logger.Error("panic while handling a delivery", "panic", what, "stack", stack) })
				err = errPanicked
			}
		}()
		return next(c)
	}
}

// describePanic returns only the type of a panic's value, because the value
// itself may contain parts of the body. It returns errors of the Go runtime in
// full, because they contain only indexes and types.
func describePanic(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}
