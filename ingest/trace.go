package ingest

import (
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/tracing"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// trace makes the span of a delivery that was verified and answered. Others have
// none: anyone can send them.
func (h *Handler) trace(c echo.Context, d *delivery, a answer, took time.Duration) {
	if !h.tracer.On() || d.key == (lumin.EventKey{}) {
		return
	}
	h.tracer.Delivery(tracing.Delivery{
		Key: d.key, Source: d.sourceName(), EventType: string(d.eventType),
		First:  d.receipt.Status != store.Duplicate,
		Result: a.result, Status: a.status, EventID: d.receipt.EventID,
		From: d.receivedAt, To: d.receivedAt.Add(took), Header: c.Request().Header,
	})
}

// keyOf returns the event key of a delivery.
func keyOf(d store.Delivery) lumin.EventKey {
	if d.Envelope == nil {
		return lumin.UnrecognizedKey(d.Payload)
	}
	return d.Envelope.Key()
}
