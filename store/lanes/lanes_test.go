package lanes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/lanes"
)

// newLanes returns a store with the ordered job types book, which holds, and
// mail, which skips, and the plain job type note.
func newLanes(t *testing.T) *store.Store {
	t.Helper()
	s := storetest.New(t)
	storetest.Register(t, s, "book", "mail", "note")
	storetest.Exec(t, s.Pool(), `UPDATE lumin.job_types SET when_failed = CASE kind WHEN 'book' THEN 'hold' ELSE 'skip' END WHERE kind <> 'note'`)
	return s
}

// inLane is the delivery with this number, of another signature request.
func inLane(request string, n int, jobs ...string) store.Delivery {
	d := storetest.Delivery(n, jobs...)
	d.Envelope.SignatureRequestID = request
	return d
}

// set sets the state of a run, since so many minutes ago.
func set(t *testing.T, s *store.Store, event int, kind, state string, minutes int) {
	t.Helper()
	storetest.Exec(t, s.Pool(), `
		UPDATE lumin.runs SET state = $3, pending_since = now() - make_interval(mins => $4),
		    error = CASE WHEN $3 = 'failed' THEN 'no invoice ' || event_id END,
		    finished_at = CASE WHEN $3 NOT IN ('pending', 'parked') THEN now() - make_interval(mins => $4) END
		WHERE event_id = $1 AND job_kind = $2`, event, kind, state, minutes)
}

// text is a short form of lanes.
func text(found ...lanes.Lane) string {
	var lines []string
	for _, l := range found {
		line := fmt.Sprintf("%s %s head %d %s", l.Kind, l.SignatureRequestID, l.HeadEventID, l.HeadState)
		if l.Waiting > 0 {
			line += fmt.Sprintf(" waiting %d", l.Waiting)
		}
		if l.Held() {
			line += fmt.Sprintf(" held by %d: %s", *l.HeldBy, l.Error)
		}
		if l.Since != nil {
			line += fmt.Sprintf(" %d min", int(l.Age/60))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// fill records events 1 to 4 of request a, 5 and 6 of b, 7 of c. Of book, 1 has
// failed and holds 2 and 3; 5 is queued before 6; 7 has failed. Of mail, 1 has
// failed, and 2 is queued before 3.
func fill(t *testing.T, s *store.Store) {
	t.Helper()
	for n, request := range []string{"a", "a", "a", "a", "b", "b", "c"} {
		kinds := []string{"book", "mail", "note"}
		if n == 3 {
			kinds = kinds[2:]
		}
		storetest.Record(t, s, inLane(request, n+1, kinds...))
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE job_kind <> 'book'`)
	set(t, s, 1, "book", "failed", 30)
	set(t, s, 2, "book", "parked", 20)
	set(t, s, 3, "book", "parked", 40)
	set(t, s, 6, "book", "parked", 10)
	set(t, s, 7, "book", "failed", 50)
	set(t, s, 1, "mail", "failed", 60)
	set(t, s, 2, "mail", "pending", 5)
	set(t, s, 3, "mail", "parked", 5)
	set(t, s, 1, "note", "failed", 60)
}

func TestList(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	fill(t, s)
	const (
		a    = "book a head 1 failed waiting 2 held by 1: no invoice 1 30 min"
		b    = "book b head 5 queued waiting 1 10 min"
		c    = "book c head 7 failed held by 7: no invoice 7 50 min"
		mail = "mail a head 2 queued waiting 1 5 min"
	)
	for name, test := range map[string]struct {
		filter lanes.Filter
		want   []string
	}{
		"all, the longest wait first": {lanes.Filter{}, []string{c, a, b, mail}},
		"held":                        {lanes.Filter{Held: true}, []string{c, a}},
		"of a job type":               {lanes.Filter{Kinds: []string{"mail"}}, []string{mail}},
		"of a signature request":      {lanes.Filter{SignatureRequestID: "a"}, []string{a, mail}},
		"limited":                     {lanes.Filter{Limit: 2}, []string{c, a}},
		"of no job type":              {lanes.Filter{Kinds: []string{"note"}}, nil},
	} {
		test.filter.Limit = max(test.filter.Limit, 10*(1-min(test.filter.Limit, 1)))
		found, err := lanes.List(t.Context(), s.Pool(), test.filter)
		if got, want := text(found...), strings.Join(test.want, "\n"); err != nil || got != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
}

// Find has the same answer as List, and finds a lane in which nothing waits.
func TestFind(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	fill(t, s)
	listed, err := lanes.List(t.Context(), s.Pool(), lanes.Filter{Limit: 10})
	if err != nil || len(listed) != 4 {
		t.Fatal(listed, err)
	}
	for _, want := range listed {
		got, err := lanes.Find(t.Context(), s.Pool(), want.Kind, want.SignatureRequestID)
		if err != nil || text(got) != text(want) || !got.HeadEventTime.Equal(want.HeadEventTime) {
			t.Errorf("found %+v, %v\nlisted %+v", got, err, want)
		}
	}
	for _, key := range [][2]string{{"mail", "c"}, {"note", "a"}, {"book", "d"}} {
		if lane, err := lanes.Find(t.Context(), s.Pool(), key[0], key[1]); !errors.Is(err, lanes.ErrNoLane) {
			t.Errorf("%v: %s, %v", key, text(lane), err)
		}
	}
	set(t, s, 7, "book", "pending", 3)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET error = 'not yet' WHERE event_id = 7 AND job_kind = 'book'`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'retryable', attempt = 2, scheduled_at = now() + interval '1 hour'
		WHERE id = (SELECT job_id FROM lumin.runs WHERE event_id = 7 AND job_kind = 'book')`)
	lane, err := lanes.Find(t.Context(), s.Pool(), "book", "c")
	if err != nil || text(lane) != "book c head 7 retrying" || lane.HeadAttempts != 2 || lane.Error != "not yet" ||
		lane.NextAttempt == nil || time.Until(*lane.NextAttempt).Round(time.Minute) != time.Hour {
		t.Errorf("%+v, %v", lane, err)
	}
}

// An event that arrives late becomes the head of a held lane. The lane is still
// held, and can be skipped.
func TestLateEvent(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	storetest.Record(t, s, inLane("a", 2, "book"), inLane("a", 3, "book"), inLane("a", 1, "book"))
	set(t, s, 1, "book", "failed", 10)
	set(t, s, 2, "book", "parked", 20)
	const want = "book a head 3 queued waiting 1 held by 1: no invoice 1 10 min"
	found, err := lanes.List(t.Context(), s.Pool(), lanes.Filter{Held: true, Limit: 10})
	if err != nil || text(found...) != want {
		t.Fatalf("%v\n%s\nwant\n%s", err, text(found...), want)
	}
	if skipped, err := lanes.Skip(t.Context(), s.Pool(), found[0], "test data", "ann"); err != nil || !skipped {
		t.Error(skipped, err)
	}
	lane, err := lanes.Find(t.Context(), s.Pool(), "book", "a")
	if want := "book a head 3 queued waiting 1 20 min"; err != nil || text(lane) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, text(lane), want)
	}
	if skipped, err := lanes.Skip(t.Context(), s.Pool(), lane, "test data", "ann"); err != nil || skipped {
		t.Error(skipped, err)
	}
}

// An event that came from two sources has one run, in one lane.
func TestTwoSources(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	for n := 1; n <= 2; n++ {
		storetest.Record(t, s, inLane("a", n, "book"))
		storetest.Record(t, s, storetest.From("app:crm", inLane("a", n, "book")))
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'failed', error = 'no', finished_at = now() WHERE event_id = 1`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'parked' WHERE event_id <> 1`)
	found, err := lanes.List(t.Context(), s.Pool(), lanes.Filter{Limit: 10})
	if want := "book a head 1 failed waiting 1 held by 1: no 0 min"; err != nil || text(found...) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, text(found...), want)
	}
	lane, err := lanes.Find(t.Context(), s.Pool(), "book", "a")
	if err != nil || text(lane) != text(found...) {
		t.Errorf("%s, %v", text(lane), err)
	}
}

func TestSkip(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	fill(t, s)
	lane, err := lanes.Find(t.Context(), s.Pool(), "book", "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lanes.Skip(t.Context(), s.Pool(), lane, " ", "ann"); !errors.Is(err, lanes.ErrNoReason) {
		t.Errorf("without a reason: %v", err)
	}
	skipped, err := lanes.Skip(t.Context(), s.Pool(), lane, "test data", "ann")
	if err != nil || !skipped {
		t.Fatal(skipped, err)
	}
	if got := storetest.Value[string](t, s.Pool(), `SELECT concat_ws(' ', event_id, job_kind, dismissed_by, reason) FROM lumin.dismissed_runs`); got != "1 book ann test data" {
		t.Errorf("dismissed: %s", got)
	}
	if jobs := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_lane' AND args ->> 'lane_of' = $1`, *lane.HeldKey); jobs != 1 {
		t.Errorf("%d jobs wake the lane", jobs)
	}
	// The lane goes on, and its next head fails: the same skip leaves it alone.
	set(t, s, 2, "book", "failed", 0)
	if skipped, err := lanes.Skip(t.Context(), s.Pool(), lane, "test data", "ann"); err != nil || skipped {
		t.Errorf("skipped twice: %v, %v", skipped, err)
	}
	if lane, err = lanes.Find(t.Context(), s.Pool(), "book", "a"); err != nil || lane.HeadEventID != 2 || !lane.Held() {
		t.Errorf("%s, %v", text(lane), err)
	}
}

// Of several skips at once, one skips the run.
func TestSkipAtOnce(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	fill(t, s)
	lane, err := lanes.Find(t.Context(), s.Pool(), "book", "a")
	if err != nil {
		t.Fatal(err)
	}
	var (
		all     sync.WaitGroup
		skipped atomic.Int64
	)
	for range 4 {
		all.Go(func() {
			done, err := lanes.Skip(context.WithoutCancel(t.Context()), s.Pool(), lane, "test data", "ann")
			if err != nil {
				t.Error(err)
			}
			if done {
				skipped.Add(1)
			}
		})
	}
	all.Wait()
	if n := skipped.Load(); n != 1 {
		t.Errorf("%d skips", n)
	}
}

func TestCountHeld(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	held := func() (line string) {
		t.Helper()
		counts, err := lanes.CountHeld(t.Context(), s.Pool())
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range counts {
			line += h.Kind + " " + h.Number()
			if h.Since != nil {
				line += fmt.Sprintf(" %d min", int(h.Age/60))
			}
		}
		return line
	}
	if got := held(); got != "book 0" {
		t.Error(got)
	}
	fill(t, s)
	if got := held(); got != "book 2 50 min" {
		t.Error(got)
	}
	set(t, s, 2, "book", "failed", 60) // in the same lane as 1
	if got := held(); got != "book 2 60 min" {
		t.Error(got)
	}
	policies, err := lanes.Policies(t.Context(), s.Pool())
	if err != nil || fmt.Sprint(policies) != "map[book:hold mail:skip]" {
		t.Error(policies, err)
	}
}

// Of very many failed runs of a job type, a bounded number is looked at.
func TestCountHeldIsBounded(t *testing.T) {
	t.Parallel()
	s := newLanes(t)
	storetest.Exec(t, s.Pool(), `
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT md5(n::text)::uuid, 'account', 'request-' || n, 'signature_request_signed', now(), '\x00', '\x00', '\x00', 'k', now()
		    FROM generate_series(1, $1::int) n RETURNING *
		)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
		SELECT event_key, 'book', id, 'failed', now() - interval '30 minutes' FROM e`, lanes.HeldLooks+100)
	counts, err := lanes.CountHeld(t.Context(), s.Pool())
	if err != nil || len(counts) != 1 || !counts[0].More || counts[0].Number() != "at least 10000" || int(counts[0].Age/60) != 30 {
		t.Errorf("%+v, %v", counts, err)
	}
}
