package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// maxAhead is how far in the future an event may be. Clocks that are set
// correctly differ by less.
const maxAhead = 10 * time.Minute

// deliveryKey is the context key of the *delivery.
const deliveryKey = "delivery"

// delivery collects what is known about a request, for the log and the metrics.
type delivery struct {
	receivedAt   time.Time
	source       *source // nil: not configured
	tried        string  // the source in the path, if it is not configured
	bytes        int     // bytes of the body that were read
	held         int64   // bytes of the budget for the body
	spare        []byte  // the body, to be reused; nil once verified, because Record may keep it
	read         bool    // the body was read to its end
	keyID        string  // id of the key that verified it; empty: not verified
	eventType    lumin.EventType
	unrecognized string         // why there is no event type
	key          lumin.EventKey // if there are traces; zero until the delivery is verified
	receipt      store.Receipt
	lines        []func() // log lines to write after the response
}

// deliveryOf returns what [Handler.begin] put into the context.
func deliveryOf(c echo.Context) *delivery { return c.Get(deliveryKey).(*delivery) } //nolint:forcetypeassert // begin runs before every handler

// receive handles and answers a delivery.
func (h *Handler) receive(c echo.Context) error {
	if err := h.deliver(c, deliveryOf(c)); err != nil {
		return err
	}
	h.finish(c, nil)
	return nil
}

// deliver reads, verifies, decodes and records a delivery.
func (h *Handler) deliver(c echo.Context, d *delivery) error {
	if d.source == nil {
		return errUnknownSource
	}

	r := c.Request()
	body, held, err := readBody(c.Response().Writer, r, &h.budget)
	d.bytes, d.held, d.spare, d.read = len(body), held, body, err == nil
	if err != nil {
		return err
	}

	match, line, err := d.source.verify(body, r.Header, d.receivedAt)
	if line != nil {
		d.lines = append(d.lines, line)
	}
	if err != nil {
		return err
	}
	d.keyID, d.spare = match.KeyID, nil

	verified := store.Delivery{
		Source: d.source.name, Payload: body, Signature: match.Signature, KeyID: match.KeyID, ReceivedAt: d.receivedAt,
	}
	envelope, err := lumin.DecodeEnvelope(body)
	if err == nil {
		err = envelope.CheckTime()
	}
	if err == nil {
		d.eventType = envelope.EventType
		verified.Envelope = &envelope
		if err := h.checkAge(envelope.EventTime, d.receivedAt); errors.Is(err, errTimestampExpired) && h.storeLate {
			verified.Late = true
		} else if err != nil {
			return err
		} else {
			verified.Jobs = h.route(d.source.name, envelope.EventType)
		}
	} else {
		d.unrecognized = reason(err)
	}

	if h.tracer.On() {
		d.key = keyOf(verified)
	}

	// A disconnected caller must not cancel the recording: Lumin would only
	// send the delivery again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), h.recordTimeout)
	defer cancel()
	d.receipt, err = h.record(ctx, verified)
	return err
}

// checkAge refuses events that are too old or from the future.
func (h *Handler) checkAge(eventTime, now time.Time) error {
	switch {
	case h.maxEventAge > 0 && eventTime.Before(now.Add(-h.maxEventAge)):
		return errTimestampExpired
	case eventTime.After(now.Add(maxAhead)):
		return errTimestampInFuture
	}
	return nil
}

// reason returns why an event is unrecognized.
func reason(err error) string {
	var unrecognized *lumin.UnrecognizedError
	if errors.As(err, &unrecognized) {
		return unrecognized.Reason
	}
	return "unknown"
}
