package river

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/labstack/echo/v4"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"riverqueue.com/riverui"

	"lumin-ingest/admin/access"
	"lumin-ingest/migrations"
	"lumin-ingest/store/operate"
)

// Prefix is the path of River UI.
const Prefix = "/river"

// Config configures a [UI].
type Config struct {
	// Pool is for the statements of River UI. Required. It should be a small one of its
	// own, with a short statement_timeout: River UI counts all jobs of a queue, and each
	// open page asks again every few seconds.
	Pool *pgxpool.Pool

	Operator *operate.Operator // writes the audit log; required
	Logger   *slog.Logger      // nil: nothing is logged
}

// UI is River UI.
type UI struct {
	handler  http.Handler
	operator *operate.Operator
}

// New returns River UI. It does not use the database.
func New(cfg Config) (*UI, error) {
	logger := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	// The client works no jobs. It is for the calls of River UI.
	client, err := river.NewClient(riverpgxv5.New(cfg.Pool), &river.Config{Schema: migrations.Schema, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("make River UI: %w", err)
	}
	// The handler's Start is not called: it would count all jobs again and again,
	// even if no one looks.
	handler, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints[pgx.Tx](client, nil), JobListHideArgsByDefault: true, Logger: logger, Prefix: Prefix,
	})
	if err != nil {
		return nil, fmt.Errorf("make River UI: %w", err)
	}
	return &UI{handler, cfg.Operator}, nil
}

// Register adds the routes to a group at [Prefix].
func (u *UI) Register(g *echo.Group) {
	g.Any("", u.serve)
	g.Any("/*", u.serve)
}

// contentSecurityPolicy allows what River UI needs beyond the policy of the other
// pages: a library of it writes a style element for its notices, and its style sheet
// has pictures in data URLs.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

// plainPath matches the paths of River UI. No segment is empty or begins with a dot,
// and nothing is escaped, so every reader finds the same path in it.
var plainPath = regexp.MustCompile(`^/river(/|(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*)$`)

// allowed matches the method and path of the changes that leave our runs in order. The
// limits of a queue are not among them: they have an effect only in River Pro.
var allowed = regexp.MustCompile(`^(POST /api/jobs/(cancel|retry)|PUT /api/queues/[^/]+/(pause|resume))$`)

// pausePath matches the path that pauses a queue.
var pausePath = regexp.MustCompile(`^/api/queues/([^/]+)/pause$`)

func (u *UI) serve(c echo.Context) error {
	r := c.Request()
	if !plainPath.MatchString(r.URL.EscapedPath()) || !plainPath.MatchString(r.URL.Path) {
		return refuse(c, http.StatusNotFound, "no_such_path", "River UI has no such path. It begins at /river/.")
	}
	c.Response().Header().Set("Content-Security-Policy", contentSecurityPolicy)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return u.read(c)
	}
	return u.change(c)
}

// read answers with a page, a file or data.
func (u *UI) read(c echo.Context) error {
	r := c.Request()
	switch path := strings.TrimPrefix(r.URL.Path, Prefix); {
	case strings.HasPrefix(path, "/api/jobs"):
		return u.serveChanged(c.Response(), r, withoutArgs)
	case strings.HasPrefix(path, "/api/"), strings.HasPrefix(path, "/assets/"):
		u.handler.ServeHTTP(c.Response(), r)
		return nil
	}
	return u.serveChanged(c.Response(), r, func(a *answer) ([]byte, error) { return withWayBack(r.URL.Path, a) })
}

// maxBody bounds the body of a change: the ids of a thousand jobs.
const maxBody = 64 << 10

// change carries out a change with a row in the audit log.
func (u *UI) change(c echo.Context) error {
	r := c.Request()
	path := strings.TrimPrefix(r.URL.Path, Prefix)
	if path == "/api/jobs/delete" {
		return refuse(c, http.StatusForbidden, "not_here", "Jobs are not deleted here: a run that waits for a deleted job would get a new one. Cancel the job instead. "+
			"The queue removes finished jobs automatically.")
	}
	if queue := pausePath.FindStringSubmatch(path); queue != nil {
		if err := operate.CheckPause(queue[1]); err != nil {
			return refuse(c, http.StatusForbidden, "not_here", "The "+err.Error()+".")
		}
	}
	if !allowed.MatchString(r.Method + " " + path) {
		return refuse(c, http.StatusNotFound, "no_such_path", "River UI has no such change.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
	if err != nil {
		return refuse(c, http.StatusRequestEntityTooLarge, "too_large", "The request is larger than 64 KiB. Choose fewer jobs.")
	}
	jobs, err := jobsOf(path, body)
	if err != nil {
		return refuse(c, http.StatusBadRequest, "invalid_jobs", "The request does not name jobs as {\"ids\": [\"1\", \"2\"]}, so nothing was changed.")
	}
	if body, err = json.Marshal(jobs); err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body)) // what the row has
	change := operate.Change{Action: operate.ActionRiverUI, Subject: struct {
		Method string  `json:"method"`
		Path   string  `json:"path"`
		Jobs   []jobID `json:"job_ids"`
	}{r.Method, path, jobs.IDs}}
	recorded := &statusRecorder{ResponseWriter: c.Response()}
	err = u.operator.Do(r.Context(), access.From(r.Context()).Actor(operate.Dashboard), change, func(ctx context.Context) (any, error) {
		u.handler.ServeHTTP(recorded, r.WithContext(ctx))
		if recorded.status >= http.StatusBadRequest {
			return nil, fmt.Errorf("river UI answered %d", recorded.status)
		}
		return nil, nil
	})
	if err != nil && recorded.status == 0 { // the row could not be written
		return err
	}
	return nil
}

// jobIDs is the body of a change of jobs.
type jobIDs struct {
	IDs []jobID `json:"ids,omitempty"`
}

// jobID is the id of a job. River UI sends it as text, because scripts lose digits of
// large numbers.
type jobID int64

// UnmarshalJSON implements json.Unmarshaler. It accepts what River UI's handler does.
func (id *jobID) UnmarshalJSON(data []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	*id = jobID(n)
	return err
}

// MarshalJSON implements json.Marshaler.
func (id jobID) MarshalJSON() ([]byte, error) { return json.Marshal(strconv.FormatInt(int64(id), 10)) }

// jobsOf returns the jobs of a change. A change of a queue has none.
func jobsOf(path string, body []byte) (jobs jobIDs, err error) {
	if strings.HasPrefix(path, "/api/jobs/") {
		err = json.Unmarshal(body, &jobs)
	}
	return jobs, err
}

// statusRecorder remembers the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusRecorder) WriteHeader(status int) {
	w.status = cmp.Or(w.status, status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *statusRecorder) Write(p []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(p)
}

// refuse answers in the form that River UI shows to its user, which is also a
// problem (RFC 9457).
func refuse(c echo.Context, status int, code, detail string) error {
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	return c.JSON(status, map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail, "message": detail,
	})
}
