package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/once"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

const (
	// maxBody is far more than a filter with many ids needs.
	maxBody = 1 << 20

	bodyTimeout = 10 * time.Second

	problemType = "application/problem+json"

	// inDoubt is the code of a problem for an order that may have been carried out.
	inDoubt = "outcome_unknown"
)

// Problem is the body of an error response, as defined by RFC 9457.
type Problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Code   string    `json:"code"`
	Detail string    `json:"detail"`
	Hint   string    `json:"hint,omitempty"`
	Errors []Invalid `json:"errors,omitempty"`
}

// Invalid is one invalid part of a request. It does not repeat the value, which may
// be personal data.
type Invalid struct {
	Location string `json:"location"`
	Message  string `json:"message"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements [huma.ContentTypeFilter].
func (p *Problem) ContentType(string) string { return problemType }

func newProblem(status int, code, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// useProblems makes huma answer with [Problem]. huma has one function for all APIs
// of a process.
var useProblems = sync.OnceFunc(func() { //nolint:gochecknoglobals // as is what it sets
	huma.NewError = func(status int, message string, details ...error) huma.StatusError {
		p := newProblem(status, codeOf(status), message)
		for _, err := range details {
			var detailed huma.ErrorDetailer
			if errors.As(err, &detailed) {
				d := detailed.ErrorDetail()
				p.Errors = append(p.Errors, Invalid{d.Location, d.Message})
			}
		}
		return p
	}
})

// codeOf is the code of a problem that huma has found.
func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "malformed_request"
	case http.StatusRequestEntityTooLarge:
		return "body_too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusRequestTimeout:
		return "body_timeout"
	case http.StatusUnprocessableEntity:
		return "invalid_request"
	}
	return "internal_error"
}

// invalid is an error in a request that its schema does not exclude.
type invalid struct{ error }

// meanings are the errors of the rooms that callers can act on. A client makes the
// same errors of the codes.
func meanings() map[string]meaning {
	return map[string]meaning{
		"no_such_record":  {store.ErrNotFound, http.StatusNotFound},
		"not_a_run":       {store.ErrNoRun, http.StatusNotFound},
		"payload_removed": {store.ErrPayloadRemoved, http.StatusGone},
		"replay_ended":    {replay.ErrEnded, http.StatusConflict},
		"no_lane":         {lanes.ErrNoLane, http.StatusNotFound},
		"no_reason":       {operate.ErrNoReason, http.StatusUnprocessableEntity},
		"internal_queue":  {operate.ErrInternalQueue, http.StatusConflict},
		"key_reused":      {once.ErrOtherRequest, http.StatusUnprocessableEntity},
		"under_way":       {once.ErrUnderWay, http.StatusConflict},
		inDoubt:           {operate.ErrInDoubt, http.StatusServiceUnavailable},
	}
}

type meaning struct {
	err    error
	status int
}

// Means reports whether a code stands for an error of a room.
func Means(code string, err error) bool {
	m, ok := meanings()[code]
	return ok && m.err == err //nolint:errorlint // the sentinel itself, as in errors.Is
}

// problemOf maps every error of an operation to its answer.
func (a *api) problemOf(ctx context.Context, op operation, err error) *Problem {
	var (
		p       *Problem
		refused invalid
		server  *pgconn.PgError
	)
	if errors.Is(err, operate.ErrInDoubt) {
		a.logger.Warn("an order may have been carried out", "operation", op.id, "error", redact.Text(errtext.OneLine(err)))
		return withHint(newProblem(http.StatusServiceUnavailable, inDoubt, "It is not known whether the order was carried out: the database has not answered in time."),
			"send the same order again with the same Idempotency-Key; if it had none, look first whether it was carried out")
	}
	for code, known := range meanings() {
		if errors.Is(err, known.err) {
			return newProblem(known.status, code, err.Error())
		}
	}
	var decision *conflict.RefusedError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &decision):
		return withHint(newProblem(http.StatusConflict, "decision_refused", decision.Reason), decision.Hint)
	case errors.As(err, &server) && pgerrcode.IsDataException(server.Code):
		return newProblem(http.StatusUnprocessableEntity, "invalid_request", "A value cannot be stored: it is out of range, or contains a NUL.")
	case errors.Is(err, store.ErrTailState):
		return newProblem(http.StatusUnprocessableEntity, "invalid_request", "The cursor does not belong to a tail: leave it out to begin again.")
	case errors.As(err, &refused):
		return newProblem(http.StatusUnprocessableEntity, "invalid_request", refused.Error())
	case advice.LacksRight(err):
		return withHint(newProblem(http.StatusForbidden, "database_right_missing", "The database role of this server may not do this."),
			"its login needs the role lumin_admin beside its other roles; \"migrate roles\" creates it")
	case ctx.Err() != nil, errors.As(err, &server) && (server.Code == pgerrcode.QueryCanceled || server.Code == pgerrcode.LockNotAvailable):
		return withHint(newProblem(http.StatusServiceUnavailable, "timeout", "The database took too long."), cmp.Or(op.tooSlow, "try again later, or select fewer rows"))
	case unavailable(err):
		a.logger.Warn("an operation of the API failed", "operation", op.id, "error", redact.Text(errtext.OneLine(err)))
		return withHint(newProblem(http.StatusServiceUnavailable, "database_unavailable", "The database does not answer."), "try again later; /readyz shows the problem")
	}
	a.logger.Error("an operation of the API failed", "operation", op.id, "error", redact.Text(errtext.OneLine(err)))
	return newProblem(http.StatusInternalServerError, "internal_error", "The program failed; see its log for details.")
}

// unavailable reports whether the connection to the database has failed, or the
// server is stopping, starting or short of resources.
func unavailable(err error) bool {
	var (
		server  *pgconn.PgError
		connect *pgconn.ConnectError
		network net.Error
	)
	if errors.As(err, &server) {
		return pgerrcode.IsConnectionException(server.Code) || pgerrcode.IsInsufficientResources(server.Code) ||
			pgerrcode.IsOperatorIntervention(server.Code)
	}
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, pgconn.ErrConnClosed)
}

func withHint(p *Problem, hint string) *Problem {
	p.Hint = hint
	return p
}
