package operate_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/replay"
)

// An order whose answer was lost is in doubt, and counts once when it is placed again
// with its mark. An error of the server leaves no doubt.
func TestInDoubt(t *testing.T) {
	t.Parallel()
	proxy := pgtest.Proxy(t, pgtest.New(t))
	// With the simple protocol, the statement is committed before its reply is dropped.
	st, err := store.New(pgtest.Pool(t, proxy.URL()+"&default_query_exec_mode=simple_protocol"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o := operate.New(st)
	order := replay.NewOrder{Filter: replay.Filter{Status: replay.Failed}, Token: "0123456789abcdef0123456789abcdef"}
	for stored, fault := range []pgproxy.Fault{pgproxy.DropRequest, pgproxy.DropReply} {
		proxy.At(pgproxy.Strike{At: func(m pgproxy.Moment) bool { return strings.Contains(m.SQL, "INSERT INTO lumin.replays") }, Fault: fault, Times: 1})
		if _, err := o.Replay(t.Context(), ann(), order); !errors.Is(err, operate.ErrInDoubt) {
			t.Errorf("fault %d: %v", fault, err)
		}
		if n := pgtest.Value[int](t, st.Pool(), `SELECT count(*) FROM lumin.replays`); n != stored {
			t.Errorf("fault %d: %d replays", fault, n)
		}
	}
	id, err := o.Replay(t.Context(), ann(), order)
	if n := pgtest.Value[int64](t, st.Pool(), `SELECT count(*) FROM lumin.replays`); err != nil || id == 0 || n != 1 {
		t.Errorf("replay %d, %v; %d replays", id, err, n)
	}
	pgtest.Exec(t, st.Pool(), `ALTER TABLE lumin.replays ADD CHECK (order_token IS NOT NULL)`)
	order.Token = ""
	if _, err := o.Replay(t.Context(), ann(), order); err == nil || errors.Is(err, operate.ErrInDoubt) {
		t.Errorf("refused by the server: %v", err)
	}
}
