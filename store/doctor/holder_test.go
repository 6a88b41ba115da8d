package doctor_test

import (
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/doctor"
	"lumin-ingest/store/internal/storetest"
)

func TestHolders(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	s := storetest.On(t, pgtest.Pool(t, address))
	storetest.Record(t, s, storetest.Delivery(1, "book"))
	tx, err := pgtest.Pool(t, storetest.WithSetting(t, address, "application_name", "psql")).Begin(t.Context())
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
	if _, err := reader.Exec(t.Context(), `SELECT FROM lumin.runs`); err != nil { // locks no row
		t.Fatal(err)
	}
	holders, err := doctor.Holders(t.Context(), s.Pool(), 0)
	if err != nil || len(holders) != 1 {
		t.Fatalf("%+v, %v", holders, err)
	}
	h := holders[0]
	if h.PID != int(tx.Conn().PgConn().PID()) || h.Application != "psql" || h.State != "idle in transaction" ||
		h.Client == nil || *h.Client != "127.0.0.1" || time.Since(h.Since) > time.Minute {
		t.Errorf("%+v", h)
	}
	if holders, err := doctor.Holders(t.Context(), s.Pool(), time.Minute); err != nil || len(holders) > 0 {
		t.Errorf("for a minute: %+v, %v", holders, err)
	}
	if hidden, err := doctor.HiddenSessions(t.Context(), s.Pool()); err != nil || hidden != 0 {
		t.Errorf("%d sessions of the same role are hidden, %v", hidden, err)
	}
	// Another role sees none of them, and knows that.
	other := pgtest.Login(t, address)
	pgtest.Exec(t, pgtest.Conn(t, pgtest.AdminURL(t, address)), `GRANT USAGE ON SCHEMA lumin TO PUBLIC`)
	pool := pgtest.Pool(t, other)
	if holders, err := doctor.Holders(t.Context(), pool, 0); err != nil || len(holders) > 0 {
		t.Errorf("of another role: %+v, %v", holders, err)
	}
	if hidden, err := doctor.HiddenSessions(t.Context(), pool); err != nil || hidden < 2 {
		t.Errorf("%d sessions are hidden, %v", hidden, err)
	}
}
