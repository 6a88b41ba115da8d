package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// onQuery calls do before each statement with its text.
type onQuery func(sql string)

func (do onQuery) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	do(data.SQL)
	return ctx
}

func (onQuery) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// An event that retention removes after it was listed, and before its body is read, is
// left out of an export.
func TestExportOfRemovedEvent(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	other := pgtest.Pool(t, address)
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = onQuery(func(sql string) {
		if strings.Contains(sql, "e.payload_sha256") && strings.Contains(sql, "decoded_from") {
			storetest.Exec(t, other, `DELETE FROM lumin.events WHERE signature_request_id = 'request-1'`)
		}
	})
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := storetest.On(t, pool)
	recordAll(t, storetest.On(t, other), delivery(0), delivery(1), delivery(2))
	var exported []string
	for e, err := range s.Events(t.Context(), store.EventFilter{Bodies: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.EventBody == nil || e.Payload == nil {
			t.Errorf("event %d has no body", e.ID)
		}
		exported = append(exported, *e.SignatureRequestID)
	}
	if got := strings.Join(exported, " "); got != "request-2 request-0" {
		t.Errorf("exported %q", got)
	}
}
