package alerts

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/audit"
)

const (
	// learnFrom is the time before a source's last event from which its habits are
	// learned: four weeks, so that weekends and most holidays are in it.
	learnFrom = 28 * 24 * time.Hour

	// A source is not watched before it has been known for minKnown and has had
	// events in minBusy different hours. Less says little about its habits.
	minKnown = 14 * 24 * time.Hour
	minBusy  = 48

	// A source that has an event in every hour is looked at more closely: the last
	// week, in steps of five minutes.
	closerFrom = 7 * 24 * time.Hour
	closerStep = 5 * time.Minute

	// shortestQuiet is the shortest silence that raises an alert.
	shortestQuiet = 2 * closerStep

	// relearnAfter is how long a habit is remembered.
	relearnAfter = time.Hour
)

// habit is what is known about the quiet stretches of a source.
type habit struct {
	learnedAt time.Time // by this machine's clock, zero: never
	from      time.Time // the last event that it was learned from

	// quietest is a little longer than the longest time without an event: its parts
	// are rounded up to whole steps. It is 0 if there are too few events.
	quietest time.Duration
}

// busySQL returns the steps in which a source has events: 0 is the first step after
// $2. Each step costs a look-up for each event type.
const busySQL = `
WITH RECURSIVE t (event_type) AS (
    (SELECT e.event_type FROM lumin.events e WHERE e.event_type IS NOT NULL ORDER BY e.event_type LIMIT 1)
    UNION ALL
    SELECT (SELECT e.event_type FROM lumin.events e WHERE e.event_type > t.event_type ORDER BY e.event_type LIMIT 1)
    FROM t WHERE t.event_type IS NOT NULL
), steps AS MATERIALIZED (
    SELECT s.n, $2::timestamptz + make_interval(secs => s.n * $3::float8) AS since, $2::timestamptz + make_interval(secs => (s.n + 1) * $3::float8) AS until
    FROM generate_series(0, $4::integer - 1) AS s (n)
)
SELECT s.n FROM steps s
WHERE EXISTS (
    SELECT FROM t CROSS JOIN LATERAL (
        SELECT FROM lumin.events e
        WHERE e.event_type = t.event_type AND e.source = $1 AND e.received_at >= s.since AND e.received_at < s.until
        LIMIT 1) x)
   OR EXISTS (
    SELECT FROM lumin.events e
    WHERE e.event_type IS NULL AND e.source = $1 AND e.received_at >= s.since AND e.received_at < s.until)
ORDER BY s.n`

// silence finds sources that have been quiet for longer than they have been before.
// Retention may remove the events that said so, and even the last one: an alert goes on
// until there is a newer event.
func (x *Examiner) silence(ctx context.Context) (f Finding, err error) {
	now, seen, err := x.lastEvents(ctx)
	if err != nil {
		return f, err
	}
	open, err := x.openOf(ctx, Silence)
	if err != nil {
		return f, err
	}
	for key, o := range open {
		source, raisedAfter := strings.TrimPrefix(key, Silence+"/"), o.Since.Add(-shortestQuiet)
		s, stored := seen[source]
		if !stored {
			s.first, s.last = raisedAfter, raisedAfter
		}
		s.still = !s.last.After(raisedAfter)
		seen[source] = s
	}
	f.Reason = "no source has had an event"
	for _, source := range slices.Sorted(maps.Keys(seen)) {
		alert, reason, err := x.silenceOf(ctx, source, seen[source], now)
		switch {
		case err != nil:
			return f, err
		case now.Sub(seen[source].last) > learnFrom:
			f.Dropped = append(f.Dropped, Silence+"/"+source)
		case alert != nil:
			f.Alerts = append(f.Alerts, *alert)
		}
		if f.Reason == "no source has had an event" {
			f.Reason = ""
		} else {
			f.Reason += "; "
		}
		f.Reason += reason
	}
	return f, nil
}

// span is from the first to the last event of a source.
type span struct {
	first, last time.Time
	still       bool // an alert is open, and there was no event since it was raised
}

// lastEvents returns the database's time, and the span of each source's events.
func (x *Examiner) lastEvents(ctx context.Context) (now time.Time, seen map[string]span, err error) {
	if err := x.pool.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return now, nil, fmt.Errorf("read the database's clock: %w", err)
	}
	uses, err := audit.KeysUsed(ctx, x.pool)
	if err != nil {
		return now, nil, err
	}
	seen = map[string]span{}
	for _, use := range uses {
		s, known := seen[use.Source]
		if !known || use.FirstAt.Before(s.first) {
			s.first = use.FirstAt
		}
		if use.LastAt.After(s.last) {
			s.last = use.LastAt
		}
		seen[use.Source] = s
	}
	return now, seen, nil
}

// silenceOf compares the present silence of a source with its habits.
func (x *Examiner) silenceOf(ctx context.Context, source string, s span, now time.Time) (*Alert, string, error) {
	quiet := now.Sub(s.last)
	if quiet > learnFrom {
		return nil, fmt.Sprintf("%s has had no event for %s, so it is not watched any more", source, about(quiet)), nil
	}
	known := s.last.Sub(s.first) >= minKnown
	h := habit{}
	if known {
		var err error
		if h, err = x.habitOf(ctx, source, s.last); err != nil {
			return nil, "", err
		}
	}
	reason := fmt.Sprintf("no event of source %s has arrived for %s", source, about(quiet))
	switch {
	case h.quietest > 0 && quiet > h.quietest:
		reason += "; in the four weeks before, it was never quiet for longer than " + about(h.quietest)
	case s.still:
		reason += ", which was unusual when it began"
	case !known:
		return nil, fmt.Sprintf("%s has been known for less than %s", source, about(minKnown)), nil
	case h.quietest == 0:
		return nil, source + " has too few events to know what is usual", nil
	default:
		return nil, fmt.Sprintf("%s has been quiet for %s, which is usual up to %s", source, about(quiet), about(h.quietest)), nil
	}
	return &Alert{
		Key:  Silence + "/" + source,
		Text: reason + ". Check the webhook at Lumin, the public URL (doctor), and whether signatures match.",
		Page: "/sources",
	}, reason, nil
}

// habitOf returns the habit of a source. It is learned again after an hour if there
// was an event since.
func (x *Examiner) habitOf(ctx context.Context, source string, last time.Time) (habit, error) {
	x.mu.Lock()
	h := x.habits[source]
	x.mu.Unlock()
	if h.from.Equal(last) || !h.learnedAt.IsZero() && time.Since(h.learnedAt) < relearnAfter {
		return h, nil
	}
	quietest, err := learn(ctx, x.pool, source, last)
	if err != nil {
		return h, err
	}
	h = habit{learnedAt: time.Now(), from: last, quietest: quietest}
	x.mu.Lock()
	x.habits[source] = h
	x.mu.Unlock()
	return h, nil
}

// learn finds the quietest stretch of a source before its last event.
func learn(ctx context.Context, pool *pgxpool.Pool, source string, last time.Time) (time.Duration, error) {
	busy, err := busySteps(ctx, pool, source, last, learnFrom, time.Hour)
	if err != nil || len(busy) < minBusy {
		return 0, err
	}
	quietest := longestGap(busy, time.Hour)
	if len(busy) < int(learnFrom/time.Hour) {
		return quietest, nil
	}
	if busy, err = busySteps(ctx, pool, source, last, closerFrom, closerStep); err != nil {
		return 0, err
	}
	return min(quietest, longestGap(busy, closerStep)), nil
}

// busySteps returns the numbers of the steps with events, in their order. The last
// step ends just after the last event.
func busySteps(ctx context.Context, pool *pgxpool.Pool, source string, last time.Time, from, step time.Duration) ([]int, error) {
	end := last.Add(time.Microsecond) // the last event is within the last step
	return query.Column[int](ctx, pool, "learn the quiet stretches of "+source, busySQL,
		pgx.QueryExecModeCacheDescribe, source, end.Add(-from), step.Seconds(), int(from/step))
}

// longestGap returns a time within which there was always an event: the longest run
// of empty steps, with the busy steps before and after it.
func longestGap(busy []int, step time.Duration) time.Duration {
	longest := 0
	for i := 1; i < len(busy); i++ {
		longest = max(longest, busy[i]-busy[i-1]-1)
	}
	return time.Duration(longest+2) * step
}
