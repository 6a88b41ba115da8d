package api

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/jsonline"
	"lumin-ingest/internal/version"
	"lumin-ingest/store/once"
)

// Prefix is the path of the API. The number changes only when an answer or a
// parameter changes its meaning.
const Prefix = "/api/v1"

// Config configures the API. A field must be set unless its comment says otherwise.
type Config struct {
	Window *window.Window
	Orders *once.Orders // of the same database
	Logger *slog.Logger // receives internal errors

	// Sources returns the sources that the program receives. nil: none.
	Sources func() []SourceUse

	// Timeout bounds an operation. 0: 20 s. The admin listener answers within 30 s.
	Timeout time.Duration
}

const defaultTimeout = 20 * time.Second

// api holds what the operations share.
type api struct {
	huma   huma.API
	window *window.Window
	orders *once.Orders
	logger *slog.Logger

	sources func() []SourceUse
	timeout time.Duration // of an operation
}

// Register adds the API to a group of e at [Prefix].
func Register(e *echo.Echo, g *echo.Group, cfg Config) {
	useProblems()
	config := huma.DefaultConfig("lumin-ingest", version.Read().Version)
	config.CreateHooks = nil                        // would add links to schemas into answers
	config.OpenAPIPath, config.SchemasPath = "", "" // document.go serves them
	config.DocsPath = ""                            // its page loads a script from elsewhere
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.RejectUnknownQueryParameters = true
	format := huma.Format{Marshal: jsonline.Write, Unmarshal: huma.DefaultJSONFormat.Unmarshal}
	config.Formats = map[string]huma.Format{"application/json": format, "json": format}
	a := &api{huma: humaecho.NewWithGroup(e, g, config), window: cfg.Window, orders: cfg.Orders, logger: cfg.Logger, sources: cfg.Sources, timeout: cmp.Or(cfg.Timeout, defaultTimeout)}
	a.names()
	a.events()
	a.payloads()
	a.tail()
	a.failures()
	a.replays()
	a.lanes()
	a.conflicts()
	a.erasures()
	a.catalog()
	a.sourcesAndAlerts()
	a.requests()
	a.document(g)
	g.Any("/*", unknownPath)
}

// operation describes one operation of the API.
type operation struct {
	id          string
	method      string
	path        string // below Prefix
	tag         string // heading in the document
	summary     string
	description string
	role        access.Role // that a caller needs
	errors      []int       // statuses, beside those that every operation has
	tooSlow     string      // what to do after a timeout; empty: try later, or choose fewer rows
}

// reply is an answer as huma expects it.
type reply[T any] struct{ Body T }

// add adds an operation. do gets the parameters, which huma has checked against
// the tags of I, and returns the body of the answer. It has a bounded time, because
// operations share a few connections.
func add[I, T any](a *api, op operation, do func(context.Context, *I) (T, error)) {
	huma.Register(a.huma, a.describe(op), func(ctx context.Context, in *I) (*reply[T], error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		body, err := do(ctx, in)
		if err != nil {
			return nil, a.problemOf(ctx, op, err)
		}
		return &reply[T]{body}, nil
	})
}

// describe makes huma's description of an operation.
func (a *api) describe(op operation) huma.Operation {
	statuses := append([]int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity,
		http.StatusInternalServerError, http.StatusServiceUnavailable,
	}, op.errors...)
	return huma.Operation{
		OperationID: op.id, Method: op.method, Path: op.path, Tags: []string{op.tag}, Summary: op.summary,
		Description: op.description + "\n\nNeeds the role " + op.role.String() + ".",
		Errors:      statuses, Security: []map[string][]string{{"token": {}}},
		Middlewares: huma.Middlewares{a.require(op.role)}, MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
	}
}

// require refuses callers without a role.
func (a *api) require(role access.Role) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		switch caller := access.From(ctx.Context()); {
		case caller.Role >= role:
			next(ctx)
		case caller.Role == 0:
			ctx.SetHeader("WWW-Authenticate", "Bearer")
			a.write(ctx, newProblem(http.StatusUnauthorized, "not_signed_in", "Send a token: Authorization: Bearer TOKEN."))
		default:
			a.write(ctx, newProblem(http.StatusForbidden, "role_missing",
				"This operation needs the role "+role.String()+"; this caller has the role "+caller.Role.String()+"."))
		}
	}
}

// write answers with a problem from outside an operation.
func (a *api) write(ctx huma.Context, p *Problem) {
	ctx.SetHeader("Content-Type", problemType)
	ctx.SetStatus(p.Status)
	_ = jsonline.Write(ctx.BodyWriter(), p) // fails only if the caller has disconnected
}

func unknownPath(c echo.Context) error {
	p := newProblem(http.StatusNotFound, "unknown_operation",
		"The API has no "+c.Request().Method+" at this path. "+Prefix+"/openapi.json lists its operations.")
	c.Response().Header().Set(echo.HeaderContentType, problemType)
	c.Response().WriteHeader(p.Status)
	_ = jsonline.Write(io.Writer(c.Response()), p) // fails only if the caller has disconnected
	return nil
}
