package pages

import (
	"cmp"
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/assets"
	"lumin-ingest/store"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/once"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// Config configures the pages. Fields are optional if their comment does not
// say otherwise.
type Config struct {
	// Store reads the database. Required. Its pool should not be the one that
	// records deliveries: a page that is slow must not stop them.
	Store *store.Store

	// Operator makes the changes. Required.
	Operator *operate.Operator

	// Warnings returns problems that do not prevent the program from working, as
	// /readyz shows them. nil: no warnings.
	Warnings func() []string

	// Caller returns who makes a request, and what this person may do. nil: the
	// name is empty, and everything is allowed.
	Caller func(context.Context) Caller

	// Sources returns a line for each source that the program receives. nil: none.
	Sources func() []SourceLine

	// Now returns the time; ages are computed from it. nil: time.Now.
	Now func() time.Time

	Logger *slog.Logger // nil: nothing is logged
}

// Caller is the person or program that makes a request.
type Caller struct {
	Name       string // empty: not known
	From       string // address, without port
	MayOperate bool   // may change things, and see personal data
	MayErase   bool
	SignedIn   bool // with a session that can be signed out of
}

// Pages are the pages of one program; see [New].
type Pages struct {
	cfg       Config
	templates map[string]*template.Template // by page
	replays   *replay.Store
	forms     *once.Orders

	work     snapshot[work]
	held     snapshot[[]lanes.Held]
	lately   snapshot[lately]
	waiting  snapshot[waiting]
	waits    snapshots[laneFilter, []lanes.Lane]
	past     snapshots[string, past]
	progress snapshots[int64, countedRuns]
}

// New returns the pages. It does not use the database.
func New(cfg Config) *Pages {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Caller == nil {
		cfg.Caller = func(context.Context) Caller { return Caller{MayOperate: true, MayErase: true} }
	}
	p := &Pages{cfg: cfg, replays: replay.New(cfg.Store), forms: once.New(cfg.Store.Pool())}
	p.work.read, p.past.read, p.lately.read, p.progress.read = p.readWork, p.readPast, p.readLately, p.countRunsOf
	p.waiting.read, p.waits.read = p.readWaiting, p.readLanes
	p.held.read = func(ctx context.Context) ([]lanes.Held, error) { return lanes.CountHeld(ctx, cfg.Store.Pool()) }
	p.templates = p.parse()
	return p
}

// Register adds the routes of all pages to a group at the root of the listener.
func (p *Pages) Register(root *echo.Group) {
	assets.Register(root)
	g := root.Group("", p.answerErrors, bounded)
	page := func(path string, h echo.HandlerFunc) {
		g.GET(path, h)
		g.HEAD(path, h)
	}
	page("/", p.overview)
	page("/failures", p.failures)
	page("/plan", p.plan)
	page("/replays", p.listReplays)
	page("/replays/:id", p.showReplay)
	page("/replays/:id/cancel", p.planCancelReplay)
	page("/follow-ups/retry", p.planRetry)
	page("/lanes", p.lanes)
	page("/lanes/skip", p.planSkip)
	page("/job-types", p.jobTypes)
	page("/queues", p.queues)
	page("/queues/:name", p.planQueue)
	g.POST("/plan", p.operating(p.carryOut))
	g.POST("/replays/:id/cancel", p.operating(p.cancelReplay))
	g.POST("/follow-ups/retry", p.operating(p.retryFollowUps))
	g.POST("/lanes/skip", p.operating(p.skipLane))
	g.POST("/queues/:name", p.operating(p.controlQueue))
	page("/events", p.events)
	page("/events/:id", p.event)
	g.POST("/events/:id/reveal", p.revealing(p.revealEvent))
	g.POST("/events/:id/body", p.revealing(p.downloadBody))
	page("/jobs/:id", p.job)
	g.POST("/jobs/:id/reveal", p.revealing(p.revealJob))
	page("/find", p.find)
	page("/requests/:id", p.request)
	g.POST("/requests/:id/reveal", p.revealing(p.revealRequest))
	page("/conflicts", p.conflicts)
	page("/events/:id/conflicts/:body", p.conflict)
	g.POST("/events/:id/conflicts/:body", p.operating(p.decide))
	g.POST("/events/:id/conflicts/:body/reveal", p.revealing(p.revealConflict))
	page("/unrecognized", p.unrecognized)
	page("/sources", p.sources)
	page("/programs", p.programs)
	page("/audit", p.auditLog)
	g.GET("/theme", p.setTheme)
	g.RouteNotFound("/*", func(echo.Context) error { return errNoPage })
}

// requestTimeout is how long the statements of one request may take.
const requestTimeout = 10 * time.Second

// bounded replaces the context of a request. A reader who leaves does not cancel
// the statement: pgx would have to close the connection.
func bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
		defer cancel()
		c.SetRequest(r.WithContext(ctx))
		return next(c)
	}
}

// seeOther answers a form: the browser gets the given page.
func seeOther(c echo.Context, path string) error { return c.Redirect(http.StatusSeeOther, path) }
