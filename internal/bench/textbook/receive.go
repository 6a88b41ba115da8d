package textbook

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/labstack/echo/v4"

	"lumin-ingest/lumin"
)

// maxBody is the size of the largest body.
const maxBody = 1 << 20

// receive records one delivery.
func (s *server) receive(c echo.Context) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody))
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest)
	}
	match, err := s.keyring.Verify(body, c.Request().Header)
	if err != nil {
		return echo.NewHTTPError(http.StatusUnauthorized)
	}
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest)
	}
	if err := s.record(c.Request().Context(), envelope, body, match.Signature); err != nil {
		return echo.NewHTTPError(http.StatusServiceUnavailable, err.Error())
	}
	return c.NoContent(http.StatusOK)
}

// call records one delivery of a caller in this process, whose signature counts
// as verified.
func (s *server) call(ctx context.Context, body []byte) error {
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil {
		return err
	}
	return s.record(ctx, envelope, body, make([]byte, sha256.Size))
}

const insertEvent = `INSERT INTO public.events (event_key, source, signature_request_id, event_type, event_time, payload, signature)
VALUES ($1, 'account', $2, $3, $4, $5, $6) ON CONFLICT (event_key, source) DO NOTHING RETURNING id`

// record inserts an event and its job in one transaction.
func (s *server) record(ctx context.Context, e lumin.Envelope, body, signature []byte) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var id int64
		err := tx.QueryRow(ctx, insertEvent, e.Key().String(), e.SignatureRequestID, string(e.EventType), e.EventTime, body, signature).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // a redelivery
		}
		if err != nil {
			return err
		}
		_, err = s.river.InsertTx(ctx, tx, eventArgs{ID: id}, nil)
		return err
	})
}
