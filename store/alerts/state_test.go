package alerts_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/internal/storetest"
)

// open returns "key state" of each alert, where state is new, sent, over, or ended.
func open(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	return storetest.Value[string](t, pool, `
		SELECT coalesce(string_agg(key || ' ' || CASE WHEN resolved_sent_at IS NOT NULL THEN 'ended' WHEN resolved_at IS NOT NULL THEN 'over'
		                                              WHEN sent_at IS NOT NULL THEN 'sent' ELSE 'new' END, ', ' ORDER BY key), '')
		FROM lumin.alerts`)
}

func keys(list []alerts.Open) (keys []string) {
	for _, a := range list {
		keys = append(keys, a.Key)
	}
	return keys
}

// later makes every alert older.
func later(t *testing.T, pool *pgxpool.Pool, interval string) {
	t.Helper()
	storetest.Exec(t, pool, `UPDATE lumin.alerts SET since = since - $1::text::interval, seen_at = seen_at - $1::text::interval,
		sent_at = sent_at - $1::text::interval, resolved_at = resolved_at - $1::text::interval, resolved_sent_at = resolved_sent_at - $1::text::interval`, interval)
}

// wantRound stores findings and sends, and checks what was sent and what is known then.
func wantRound(t *testing.T, pool *pgxpool.Pool, program [16]byte, f alerts.Finding, message, state string) {
	t.Helper()
	if err := alerts.Store(t.Context(), pool, []alerts.Finding{f}); err != nil {
		t.Fatal(err)
	}
	got := ""
	_, err := alerts.Send(t.Context(), pool, program, func(_ context.Context, m alerts.Message) error {
		got = fmt.Sprint(keys(m.Raised), keys(m.Resolved))
		return nil
	})
	if err != nil || got != message || open(t, pool) != state {
		t.Errorf("sent %q, %v, and the state is %q; want %q, %q", got, err, open(t, pool), message, state)
	}
}

// holder returns a program that examines and sends.
func holder(t *testing.T, pool *pgxpool.Pool) [16]byte {
	t.Helper()
	me := [16]byte{1}
	if held, err := alerts.Hold(t.Context(), pool, me, time.Hour); err != nil || !held {
		t.Fatal(held, err)
	}
	return me
}

func lane(kinds ...string) alerts.Finding {
	f := alerts.Finding{Condition: alerts.Lane}
	for _, kind := range kinds {
		f.Alerts = append(f.Alerts, alerts.Alert{Key: "lane/" + kind, Text: kind + " is held"})
	}
	return f
}

// One alert, from its beginning to its end, as time goes by.
func TestLifeOfAnAlert(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	me := holder(t, pool)
	round := func(f alerts.Finding, message, state string) { t.Helper(); wantRound(t, pool, me, f, message, state) }
	later := func(interval string) { t.Helper(); later(t, pool, interval) }
	round(lane(), "", "")
	round(lane("a", "b"), "[lane/a lane/b] []", "lane/a sent, lane/b sent")
	later("23 hours")
	round(lane("a", "b", "c"), "[lane/c] []", "lane/a sent, lane/b sent, lane/c sent")
	later("2 hours")
	round(lane("a", "b", "c"), "[lane/a lane/b] []", "lane/a sent, lane/b sent, lane/c sent")

	// What could not be examined, or not entirely, resolves nothing.
	broken, part := lane(), lane("a")
	broken.Err, part.Partly = errors.New("broken"), true
	round(broken, "", "lane/a sent, lane/b sent, lane/c sent")
	round(part, "", "lane/a sent, lane/b sent, lane/c sent")

	// What is not known is not said again, but once it is known.
	later("25 hours")
	round(broken, "", "lane/a sent, lane/b sent, lane/c sent")
	round(part, "[lane/a] []", "lane/a sent, lane/b sent, lane/c sent")
	round(lane("a", "b", "c"), "[lane/b lane/c] []", "lane/a sent, lane/b sent, lane/c sent")

	// One that comes again within five minutes goes on.
	round(lane("b"), "", "lane/a over, lane/b sent, lane/c over")
	later("4 minutes")
	round(lane("a", "b"), "", "lane/a sent, lane/b sent, lane/c over")
	later("2 minutes")
	round(lane("a", "b"), "[] [lane/c]", "lane/a sent, lane/b sent, lane/c ended")
	round(lane("a", "b", "c"), "[lane/c] []", "lane/a sent, lane/b sent, lane/c sent")

	// What is known to be over ends, although not everything was examined.
	over := lane("b")
	over.Over, over.Partly = []string{"lane/a"}, true
	round(over, "", "lane/a over, lane/b sent, lane/c sent")
	round(lane("a", "b", "c"), "", "lane/a sent, lane/b sent, lane/c sent")

	// Nothing is sent about the end of what is no longer examined.
	dropped := lane("b")
	dropped.Dropped, dropped.Partly = []string{"lane/a"}, true
	round(dropped, "", "lane/a ended, lane/b sent, lane/c sent")
	round(lane(), "", "lane/a ended, lane/b over, lane/c over")
	later("6 minutes")
	round(lane(), "[] [lane/b lane/c]", "lane/a ended, lane/b ended, lane/c ended")
	later("8 days")
	round(lane(), "", "")
}

// An alert that a program reports is resolved when that program says so. If it is
// gone, nothing is known, and nothing is sent.
func TestReported(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	me := holder(t, pool)
	const key = "certificate/h"
	report := func(hold []alerts.Alert, over ...string) {
		t.Helper()
		if err := alerts.Report(t.Context(), pool, hold, over); err != nil {
			t.Fatal(err)
		}
	}
	alert := []alerts.Alert{{Key: key, Text: "it expires. It is of today. Renew it."}}
	report(nil, key)
	report(alert)
	wantRound(t, pool, me, lane(), "[certificate/h] []", "certificate/h sent")
	if list, err := alerts.List(t.Context(), pool, 0); err != nil || len(list) != 1 || list[0].Text != "it expires. It is of today. Renew it." {
		t.Errorf("%+v, %v", list, err)
	}
	report(nil, key)
	later(t, pool, "6 minutes")
	wantRound(t, pool, me, lane(), "[] [certificate/h]", "certificate/h ended")
	report(alert)
	wantRound(t, pool, me, lane(), "[certificate/h] []", "certificate/h sent")
	later(t, pool, "50 minutes") // the program is down
	wantRound(t, pool, me, lane(), "", "certificate/h sent")
	later(t, pool, "20 minutes")
	wantRound(t, pool, me, lane(), "", "certificate/h ended")
	list, err := alerts.List(t.Context(), pool, time.Hour)
	if err != nil || len(list) != 1 || list[0].ResolvedAt == nil || list[0].Text != "it expires. It is of today." {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := alerts.List(t.Context(), pool, 0); err != nil || len(list) != 0 {
		t.Errorf("that hold: %+v, %v", list, err)
	}
}

// The first sweep after an outage of the database ends an alert before it is sent.
func TestHousekeepingMustBeSure(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	me := holder(t, pool)
	stopped, runs := alerts.Finding{Condition: alerts.Housekeeping, Alerts: []alerts.Alert{{Key: "housekeeping/lumin_sweep"}}}, alerts.Finding{Condition: alerts.Housekeeping}
	wantRound(t, pool, me, stopped, "", "housekeeping/lumin_sweep new")
	later(t, pool, "2 minutes")
	wantRound(t, pool, me, stopped, "", "housekeeping/lumin_sweep new")
	wantRound(t, pool, me, runs, "", "housekeeping/lumin_sweep ended")
	wantRound(t, pool, me, stopped, "", "housekeeping/lumin_sweep new")
	later(t, pool, "3 minutes")
	wantRound(t, pool, me, stopped, "[housekeeping/lumin_sweep] []", "housekeeping/lumin_sweep sent")
}

// One program at a time sends, and another one takes over.
func TestHold(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	a, b := [16]byte{1}, [16]byte{2}
	hold := func(program [16]byte, want bool) {
		t.Helper()
		if held, err := alerts.Hold(t.Context(), pool, program, time.Hour); err != nil || held != want {
			t.Errorf("%d: %v, %v, want %v", program[0], held, err, want)
		}
	}
	hold(a, true)
	hold(b, false)
	hold(a, true)
	if err := alerts.Release(t.Context(), pool, b); err != nil { // it is not the holder
		t.Fatal(err)
	}
	hold(b, false)
	storetest.Exec(t, pool, `UPDATE lumin.alert_sending SET held_until = now() - interval '1 second'`)
	hold(b, true)
	if err := alerts.Store(t.Context(), pool, []alerts.Finding{lane("x")}); err != nil {
		t.Fatal(err)
	}
	// The first one was stopped for a while and knows nothing of that.
	sent, err := alerts.Send(t.Context(), pool, a, func(context.Context, alerts.Message) error { t.Error("two programs send"); return nil })
	if sent || err != nil {
		t.Error(sent, err)
	}
	if err := alerts.Release(t.Context(), pool, b); err != nil {
		t.Fatal(err)
	}
	hold(a, true)
}

// takeOver makes a program the one that sends, instead of another.
func takeOver(t *testing.T, pool *pgxpool.Pool, from, to [16]byte) {
	t.Helper()
	if err := alerts.Release(t.Context(), pool, from); err != nil {
		t.Fatal(err)
	}
	if held, err := alerts.Hold(t.Context(), pool, to, time.Hour); err != nil || !held {
		t.Fatal(held, err)
	}
}

// A webhook that does not accept messages is tried again, ever more rarely.
func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	me, refused := [16]byte{1}, errors.New("the webhook answered 503")
	if _, err := alerts.Hold(t.Context(), pool, me, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := alerts.Store(t.Context(), pool, []alerts.Finding{lane("x")}); err != nil {
		t.Fatal(err)
	}
	send := func(answer error) (tried bool) {
		t.Helper()
		sent, err := alerts.Send(t.Context(), pool, me, func(context.Context, alerts.Message) error { tried = true; return answer })
		if tried && (!errors.Is(err, answer) || sent != (answer == nil)) || !tried && (sent || err != nil) {
			t.Errorf("tried %v: %v, %v", tried, sent, err)
		}
		return tried
	}
	for n, minutes := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		if !send(refused) || send(nil) {
			t.Fatalf("failure %d was not followed by a pause", n)
		}
		pause := storetest.Value[float64](t, pool, `SELECT round(extract(epoch FROM next_at - now()) / 60)::float8 FROM lumin.alert_sending`)
		if pause != float64(minutes) {
			t.Errorf("pause %d takes %v minutes, want %d", n, pause, minutes)
		}
		storetest.Exec(t, pool, `UPDATE lumin.alert_sending SET next_at = now()`)
	}
	if s, err := alerts.ReadSending(t.Context(), pool); err != nil || s.Failures != 8 || s.Error != refused.Error() || s.NextAt == nil || s.LookedAt == nil {
		t.Errorf("%+v, %v", s, err)
	}
	// Another program need not wait for an hour. However often they take turns, that
	// shortens one pause.
	storetest.Exec(t, pool, `UPDATE lumin.alert_sending SET next_at = now() + interval '1 hour'`)
	const nextSQL = `SELECT next_at::text FROM lumin.alert_sending WHERE next_at <= now() + interval '1 minute'`
	takeOver(t, pool, me, [16]byte{2})
	next := storetest.Value[string](t, pool, nextSQL)
	takeOver(t, pool, [16]byte{2}, me)
	if again := storetest.Value[string](t, pool, nextSQL); again != next || send(nil) {
		t.Errorf("the next message is sent at %s, and after another turn at %s", next, again)
	}
	storetest.Exec(t, pool, `UPDATE lumin.alert_sending SET next_at = now()`)
	if !send(nil) || open(t, pool) != "lane/x sent" {
		t.Error("it was not sent at last")
	}
	if s, err := alerts.ReadSending(t.Context(), pool); err != nil || s.Failures != 0 || s.Error != "" || s.NextAt != nil {
		t.Errorf("%+v, %v", s, err)
	}
}
