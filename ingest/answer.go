package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Reasons to refuse a request, in addition to the errors of lumin and store.
var (
	errUnknownSource     = errors.New("unknown source")
	errContentEncoding   = errors.New("unsupported content encoding")
	errBodyTooLarge      = errors.New("body too large")
	errBodyIncomplete    = errors.New("body incomplete")
	errBodyTimeout       = errors.New("body timeout")
	errTimestampExpired  = errors.New("timestamp expired")
	errTimestampInFuture = errors.New("timestamp in future")
	errPanicked          = errors.New("panicked")

	errTooManyBodies      = errors.New("too many bodies")
	errTooManyConnections = errors.New("too many connections")
)

// errMethodNotAllowed is the error for a known path with a wrong method.
type errMethodNotAllowed struct{ allow string }

func (errMethodNotAllowed) Error() string { return "method not allowed" }

// Results of deliveries without a receipt. With a receipt, its status is the
// result.
const (
	refused     = "refused"     // the sender or the configuration here must change
	unavailable = "unavailable" // a problem here: sending it again later is enough
)

// retryAfter is in seconds. Lumin follows its own schedule and ignores it, but
// other callers may respect it.
const retryAfter = "5"

// answer is a complete response, with its result for the log and the metrics.
type answer struct {
	status      int
	result      string
	code        string // empty when recorded
	contentType string
	body        any
	header      map[string]string
}

// receiptBody is the body of a 200.
type receiptBody struct {
	ID     int64        `json:"id"`
	Status store.Status `json:"status"`
}

// problemBody is the body of every other response, as defined by RFC 9457. Its
// type is about:blank, so its title is the text of the status.
type problemBody struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// answerTo maps every outcome to its response.
func answerTo(receipt store.Receipt, err error) answer {
	var notAllowed errMethodNotAllowed
	switch {
	case err == nil:
		return answer{
			status: http.StatusOK, result: string(receipt.Status), contentType: echo.MIMEApplicationJSON,
			body: receiptBody{ID: receipt.EventID, Status: receipt.Status},
		}

	case errors.Is(err, echo.ErrNotFound):
		return problem(http.StatusNotFound, "not_found",
			"This path does not exist. Send webhooks to /webhooks/account or /webhooks/apps/NAME.")
	case errors.As(err, &notAllowed):
		return problem(http.StatusMethodNotAllowed, "method_not_allowed",
			"Use POST for webhooks and GET for /healthz.").with(echo.HeaderAllow, notAllowed.allow)
	case errors.Is(err, errUnknownSource):
		return problem(http.StatusNotFound, "unknown_source",
			"No secret is configured for this webhook. Set LUMIN_ACCOUNT_API_KEYS for /webhooks/account, or add NAME=SECRET to LUMIN_APP_SECRETS for /webhooks/apps/NAME.")

	case errors.Is(err, errContentEncoding):
		return problem(http.StatusUnsupportedMediaType, "unsupported_content_encoding",
			"Send the body exactly as it was signed, without a Content-Encoding other than identity.")
	case errors.Is(err, errBodyTooLarge):
		return problem(http.StatusRequestEntityTooLarge, "body_too_large",
			"Send a body of at most 1048576 bytes.")
	case errors.Is(err, errBodyTimeout):
		return problem(http.StatusRequestTimeout, "body_timeout",
			"The body did not arrive in time. Send it again, and check for a slow connection or proxy.")
	case errors.Is(err, errBodyIncomplete):
		return problem(http.StatusBadRequest, "body_incomplete",
			"The body ended early or its framing is broken. Send it again, and check for a proxy that cuts connections.")

	case errors.Is(err, errTooManyBodies):
		return problem(http.StatusServiceUnavailable, "too_many_bodies",
			"Other large bodies are using all the memory for bodies. Send this one again later. If this continues, find out who sends them, or raise MAX_BODY_MEMORY.").with(echo.HeaderRetryAfter, retryAfter)
	case errors.Is(err, errTooManyConnections): // for the log; the connection is closed
		return problem(http.StatusServiceUnavailable, "too_many_connections",
			"Too many connections are open. This one had been sending for longest, so it was closed. Send the request again later.").with(echo.HeaderRetryAfter, retryAfter)

	case errors.Is(err, lumin.ErrSignatureMissing):
		return problem(http.StatusUnauthorized, "signature_missing",
			"Send one X-Signature header with the HMAC-SHA256 of the body in hexadecimal. If Lumin sent this request, a proxy removes the header.")
	case errors.Is(err, lumin.ErrSignatureMalformed):
		return problem(http.StatusUnauthorized, "signature_malformed",
			"Send X-Signature exactly once, as 64 hexadecimal digits and nothing else.")
	case errors.Is(err, lumin.ErrSignatureMismatch):
		return problem(http.StatusUnauthorized, "signature_mismatch",
			"No configured key of this webhook signed this body. If the key is new at Lumin, add it to LUMIN_ACCOUNT_API_KEYS or LUMIN_APP_SECRETS. Otherwise, check for a proxy that rewrites the body, or for a webhook URL of another source.")

	case errors.Is(err, errTimestampExpired):
		return problem(http.StatusBadRequest, "timestamp_expired",
			"event_time is older than MAX_EVENT_AGE allows. Check the clock of the receiving machine. To keep such events without running job types, set LATE_EVENTS=store. To accept older events, raise MAX_EVENT_AGE, or set it to 0 for no limit.")
	case errors.Is(err, errTimestampInFuture):
		return problem(http.StatusBadRequest, "timestamp_in_future",
			"event_time is more than 10 minutes in the future. Check the clock of the receiving machine.")

	case errors.Is(err, store.ErrOverloaded):
		return problem(http.StatusServiceUnavailable, "overloaded",
			"Too many deliveries are waiting for the database. Send this one again later. If this continues, find out why the database is slow.").with(echo.HeaderRetryAfter, retryAfter)
	case errors.Is(err, store.ErrUnavailable):
		return problem(http.StatusServiceUnavailable, "database_unavailable",
			"The database did not accept the delivery. Send it again later. /readyz on the admin listener shows the cause.").with(echo.HeaderRetryAfter, retryAfter)
	case errors.Is(err, store.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusServiceUnavailable, "record_timeout",
			"The database did not confirm the delivery in time. Send it again: if it was recorded anyway, the second delivery is recognized as a duplicate.").with(echo.HeaderRetryAfter, retryAfter)

	default:
		return problem(http.StatusInternalServerError, "internal_error",
			"The receiving program failed; see its log for details. Send the request again later.")
	}
}

func problem(status int, code, detail string) answer {
	a := answer{
		status: status, result: refused, code: code, contentType: "application/problem+json",
		body: problemBody{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail},
	}
	if status >= http.StatusInternalServerError {
		a.result = unavailable
	}
	return a
}

// with adds a header.
func (a answer) with(name, value string) answer {
	a.header = map[string]string{name: value}
	return a
}

// finish counts a delivery, answers it and logs it, in this order, because a
// log that blocks must not delay the response. Every request ends here, except
// requests for /healthz.
func (h *Handler) finish(c echo.Context, err error) {
	d := deliveryOf(c)
	a := answerTo(d.receipt, err)
	took := h.now().Sub(d.receivedAt)
	h.metrics.count(d, a, took)

	if !c.Response().Committed {
		header := c.Response().Header()
		for name, value := range a.header {
			header.Set(name, value)
		}
		if !d.read && c.Request().ContentLength != 0 {
			// Otherwise the server would wait for the body before it sends the
			// response.
			header.Set(echo.HeaderConnection, "close")
		}
		send(c, a)
	}
	if h.answered != nil {
		h.answered(Answered{Source: d.sourceName(), Result: a.result, Reason: a.code, Verified: d.keyID != "", Took: took})
	}

	h.trace(c, d, a, took)
	for _, line := range d.lines {
		line()
	}
	h.log(c, d, a, err, took)
}

// send writes the response and flushes it. It ignores errors, because they only
// mean that the caller has disconnected.
func send(c echo.Context, a answer) {
	body, err := json.Marshal(a.body)
	if err != nil {
		panic(err) // the types of the bodies are part of the program
	}
	body = append(body, '\n')
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(body)))
	_ = c.Blob(a.status, a.contentType, body)
	_ = http.NewResponseController(c.Response()).Flush()
}
