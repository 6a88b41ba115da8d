package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// runList is a list of runs r in one state, in the order of an index. The parameters
// @at, @key and @run_kind say where a page begins.
type runList struct{ from, where, order string }

const (
	byKey   = `r.event_key DESC, r.job_kind DESC`
	bySince = `r.pending_since DESC, r.event_key DESC, r.job_kind DESC`
)

// The index of pending runs holds only the time, so the runs that became pending at
// the same time are sorted. They come from one batch of deliveries or one page of a
// replay.
const sinceSQL = `r.pending_since <= coalesce(@at::timestamptz, 'infinity')
  AND (r.pending_since, r.event_key, r.job_kind) < (coalesce(@at::timestamptz, 'infinity'), @key::uuid, @run_kind::text)`

const beforeKeySQL = `(r.event_key, r.job_kind) < (@key::uuid, @run_kind::text)`

// runListOf returns the list of runs in a state. Runs that have succeeded have no
// list, because nearly all have.
func runListOf(state string) (l runList, ok bool) {
	switch state {
	case "failed", "cancelled":
		return runList{`lumin.runs r`, `r.state = '` + state + `' AND ` + beforeKeySQL, byKey}, true
	case "retrying":
		return runList{`lumin.runs r`, `r.state = 'pending' AND r.error IS NOT NULL AND ` + beforeKeySQL, byKey}, true
	case "pending", "parked":
		return runList{`lumin.runs r`, `r.state = '` + state + `' AND ` + sinceSQL, bySince}, true
	case "dismissed":
		return runList{`lumin.dismissals d CROSS JOIN LATERAL (
    SELECT * FROM lumin.runs o WHERE o.event_key = d.event_key AND o.job_kind = d.job_kind OFFSET 0
) r`, `(d.event_key, d.job_kind) < (@key::uuid, @run_kind::text)`, `d.event_key DESC, d.job_kind DESC`}, true
	}
	return runList{}, false
}

// looked are the rows that a page looks at.
func (l runList) looked() string {
	return `SELECT r.* FROM ` + l.from + `
WHERE ` + l.where + `
ORDER BY ` + l.order + ` LIMIT @looks`
}

// pageSQL selects those of them that match.
func (l runList) pageSQL() string {
	order := byKey
	if l.order == bySince {
		order = bySince
	}
	return `
SELECT r.pending_since, r.event_key, r.job_kind FROM (
` + l.looked() + `
) r
WHERE (@any_event OR EXISTS (
    SELECT FROM (SELECT * FROM lumin.events q WHERE q.event_key = r.event_key OFFSET 0) e WHERE true` + ofEventSQL + `))` + ofRunSQL + `
ORDER BY ` + order + ` LIMIT @page`
}

// lastSQL selects the last row that a page looks at.
func (l runList) lastSQL() string {
	return `SELECT r.pending_since, r.event_key, r.job_kind FROM (
` + l.looked() + `
) r OFFSET @looks - 1`
}

// foundRun is a row of these statements.
type foundRun struct {
	At   time.Time
	Key  [16]byte
	Kind string
}

// runArgs are the parameters of these statements.
func (f Search) runArgs(from SearchPosition, limit int) pgx.NamedArgs {
	args := f.args()
	args["any_event"] = f.Source == "" && f.EventType == "" && f.ReceivedSince == nil && f.ReceivedUntil == nil && !f.Unrecognized && !f.Late
	args["looks"], args["page"] = cmp.Or(f.looks, runLooks), limit+1
	args["at"], args["key"], args["run_kind"] = (*time.Time)(nil), [16]byte(slices.Repeat([]byte{0xff}, 16)), from.Kind
	if from != (SearchPosition{}) {
		args["at"], args["key"] = &from.At, [16]byte(from.Key)
	}
	return args
}

// searchRuns goes along a list of runs.
func (s *Store) searchRuns(ctx context.Context, list runList, f Search, from SearchPosition, limit int) (page SearchPage, err error) {
	args := f.runArgs(from, limit)
	found, err := query.Structs[foundRun](ctx, s.pool, "search runs", list.pageSQL(), pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return page, err
	}
	if len(found) > limit {
		found = found[:limit]
		last := found[limit-1]
		page.Next = &SearchPosition{At: last.At, Key: last.Key} // without the kind: the event is on this page
	} else {
		last, err := query.Structs[foundRun](ctx, s.pool, "search runs", list.lastSQL(), pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			return page, err
		}
		if len(last) == 1 {
			page.Next, page.Stopped = &SearchPosition{At: last[0].At, Key: last[0].Key, Kind: last[0].Kind}, true
			if n := len(found); n > 0 && found[n-1].Key == last[0].Key {
				page.Next.Kind = "" // the event is on this page
			}
		}
	}
	page.Events, err = s.eventsOfRuns(ctx, f, found)
	return page, err
}

// eventsOfRuns returns the events of runs that match, in the order of the runs.
func (s *Store) eventsOfRuns(ctx context.Context, f Search, found []foundRun) ([]EventSummary, error) {
	place := map[string]int{}
	keys := make([][16]byte, len(found))
	for i, r := range found {
		keys[i] = r.Key
		if key := lumin.EventKey(r.Key).String(); place[key] == 0 {
			place[key] = i + 1
		}
	}
	args := f.args()
	args["keys"] = keys
	events, err := query.Structs[EventSummary](ctx, s.pool, "load events", `
SELECT `+summaryColumns+`
FROM lumin.events e WHERE e.event_key = ANY (@keys)`+ofEventSQL+`
ORDER BY e.id`, pgx.QueryExecModeCacheDescribe, args)
	slices.SortStableFunc(events, func(a, b EventSummary) int { return place[a.Key] - place[b.Key] })
	return events, err
}
