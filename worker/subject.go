package worker

import (
	"context"
	"log/slog"

	"lumin-ingest/store"
)

// subject is the event that a job works, as far as the attempt knows it. The log line
// of the attempt, which is written outside the job, names it.
type subject struct {
	key              string // empty: not a job of a run
	id               int64  // 0: the event was not loaded
	signatureRequest string
}

type subjectKey struct{}

// withSubject lets called code store the event that the job works.
func withSubject(ctx context.Context) (context.Context, *subject) {
	about := &subject{}
	return context.WithValue(ctx, subjectKey{}, about), about
}

// subjectOf returns the subject of withSubject; without one, a new subject that is
// ignored.
func subjectOf(ctx context.Context) *subject {
	if about, ok := ctx.Value(subjectKey{}).(*subject); ok {
		return about
	}
	return &subject{}
}

func (s *subject) event(e *store.Event) {
	s.key, s.id, s.signatureRequest = e.Key.String(), e.ID, e.SignatureRequestID
}

func (s *subject) attrs() []slog.Attr {
	var attrs []slog.Attr
	if s.id != 0 {
		attrs = append(attrs, slog.Int64("event_id", s.id))
	}
	if s.key != "" {
		attrs = append(attrs, slog.String("event_key", s.key))
	}
	if s.signatureRequest != "" {
		attrs = append(attrs, slog.String("signature_request_id", s.signatureRequest))
	}
	return attrs
}
