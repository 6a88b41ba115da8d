package store_test

import (
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
)

func TestHolders(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	s := storeOn(t, pgtest.Pool(t, address))
	recordAll(t, s, delivery(1, "book"))
	tx, err := pgtest.Pool(t, with(t, address, "application_name", "psql")).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM lumin.runs FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	reader, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback(t.Context()) }()
	if _, err := reader.Exec(t.Context(), `SELECT FROM lumin.runs`); err != nil { // which locks no row
		t.Fatal(err)
	}
	holders, err := s.Holders(t.Context(), 0)
	if err != nil || len(holders) != 1 {
		t.Fatalf("%+v, %v", holders, err)
	}
	h := holders[0]
	if h.PID != int(tx.Conn().PgConn().PID()) || h.Application != "psql" || h.State != "idle in transaction" ||
		h.Client == nil || *h.Client != "127.0.0.1" || time.Since(h.Since) > time.Minute {
		t.Errorf("%+v", h)
	}
	if holders, err := s.Holders(t.Context(), time.Minute); err != nil || len(holders) > 0 {
		t.Errorf("for a minute: %+v, %v", holders, err)
	}
}
