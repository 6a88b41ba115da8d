package replay

import (
	"slices"
	"strings"

	"lumin-ingest/store"
	"lumin-ingest/store/failures"
)

// selection is FROM and WHERE of a statement.
type selection struct {
	from  []string // tables, each with its join
	where []string
}

// and adds conditions.
func (s selection) and(conditions ...string) selection {
	s.where = append(slices.Clip(s.where), conditions...)
	return s
}

// table is the name of the first table.
func (s selection) table() string { return strings.Fields(s.from[0])[0] }

// sample takes only so many percent of the first table, chosen at random.
func (s selection) sample() selection {
	s.from = slices.Clone(s.from)
	s.from[0] += " TABLESAMPLE SYSTEM (@percent::float4)"
	return s
}

// SQL is the text of the selection. Lines after the first are indented by this
// many spaces.
func (s selection) SQL(indent int) string {
	where := make([]string, len(s.where))
	for i, condition := range s.where {
		where[i] = strings.ReplaceAll(condition, "\n", "\n  ")
	}
	sql := "FROM " + strings.Join(s.from, "\n") + "\nWHERE " + strings.Join(where, "\n  AND ")
	return strings.ReplaceAll(sql, "\n", "\n"+strings.Repeat(" ", indent))
}

// body is the condition on the body of event e.
type body string

// A job needs a body, and an erased body must not come back. A replay therefore
// chooses runs using withBody, and a plan counts excluded runs using
// withoutBody.
const (
	withBody    body = `e.payload_removed_at IS NULL`
	withoutBody body = `e.payload_removed_at IS NOT NULL`
)

// runs selects the runs r that match. It joins their events e if the filter
// needs them. For retrying runs it starts at their River job j. Failed and
// retrying runs keep the body of their event, so they ignore the body
// condition.
func (f Filter) runs(b body) selection {
	s := selection{from: []string{`lumin.runs r`}, where: []string{`r.state = 'failed'`}}
	events, since := f.ofIdentity(), `r.finished_at`
	switch f.Status {
	case Retrying:
		since = `coalesce(j.attempted_at, j.created_at)`
		s.from = []string{
			`lumin.river_job j`,
			`JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)`,
		}
		s.where = []string{`j.state IN ('retryable', 'scheduled')`, `r.state = 'pending'`}
	case Cancelled, Succeeded:
		events = true
		s.where = []string{`r.state = '` + string(f.Status) + `'`, string(b)}
	case dismissed:
		events, since = true, `d.dismissed_at`
		s.from = []string{
			`lumin.dismissals d`,
			`JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind`,
		}
		s.where = []string{`r.state = 'dismissed'`, string(b)}
	}
	s = s.and(
		asOf(since),
		`(cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))`,
		`(cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, '`+failures.NoFingerprint+`') = ANY (@errors))`,
	).and(f.matchesKey("r")...)
	if events {
		s.from = append(s.from, `JOIN lumin.events e ON e.id = r.event_id`)
		s = s.and(matchesIdentity()...)
	}
	return s
}

// asOf leaves out what happened after Filter.AsOf, by the column that says when. A
// statement without the parameter chooses nothing.
//
//   - finished_at, attempted_at and dismissed_at are times of the database's clock. A
//     succeeded run has the time at which its attempt took it, and a retrying run the
//     time at which its last attempt began. So attempts that were under way while a
//     plan counted are covered, although the plan could not see how they would end.
//   - received_at is a time of the clock of the program that received the event.
func asOf(since string) string { return since + ` <= @as_of::timestamptz` }

// missing selects the events e that a job type t subscribes to and that match:
// late ones or the others, depending on the status.
// The caller adds the types and the condition that there is no run, because
// they differ between a plan and a page.
func (f Filter) missing(types string, b body) selection {
	return selection{from: []string{`lumin.events e`, types}}.and(
		`e.signature_request_id IS NOT NULL`,
		f.lateness("e"),
		asOf(`e.received_at`),
		`(t.events = '{}' OR e.event_type = ANY (t.events))`,
		subscribesTo("e"),
		string(b),
	).and(matchesIdentity()...).and(f.matchesKey("e")...)
}

// subscribesTo is the condition that job type t subscribes to the source of a stored
// copy of an event. The real source of a recovered event is not known.
func subscribesTo(c string) string {
	return `CASE WHEN ` + c + `.source = '` + store.RecoveredSource + `' THEN t.recovered ELSE t.sources = '{}' OR ` + c + `.source = ANY (t.sources) END`
}

// lateness is the condition on whether a stored copy of an event was late.
func (f Filter) lateness(c string) string {
	if f.Status == Late {
		return c + `.late`
	}
	return `NOT ` + c + `.late`
}

// matchesIdentity are conditions with the same result for every stored copy of
// an event.
func matchesIdentity() []string {
	return []string{
		`(cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))`,
		`(cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))`,
		`(@event_since::timestamptz IS NULL OR e.event_time >= @event_since)`,
		`(@event_until::timestamptz IS NULL OR e.event_time < @event_until)`,
	}
}

// matchesCopy are conditions on one stored copy of an event.
func matchesCopy(c string) []string {
	return []string{
		`(cardinality(@sources::text[]) = 0 OR ` + c + `.source = ANY (@sources))`,
		`(@received_since::timestamptz IS NULL OR ` + c + `.received_at >= @received_since)`,
		`(@received_until::timestamptz IS NULL OR ` + c + `.received_at < @received_until)`,
	}
}

// matchesKey returns conditions on the event key of r or e. An event is stored
// once for each source. It matches if its filter names the id of any copy, and
// if any copy meets the conditions on copies.
func (f Filter) matchesKey(of string) (conditions []string) {
	if len(f.EventIDs) > 0 {
		conditions = append(conditions, of+`.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids::bigint[])))`)
	}
	if len(f.SignatureRequestIDs) > 0 {
		// The runs of a request are found by the keys of its events: runs have no index
		// on their event.
		conditions = append(conditions, of+`.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE signature_request_id = ANY (@requests)))`)
	}
	if f.ofCopy() {
		copies := selection{from: []string{`lumin.events c`}}.and(`c.event_key = ` + of + `.event_key`).and(matchesCopy("c")...)
		conditions = append(conditions, "EXISTS (\n    SELECT "+copies.SQL(4)+"\n)")
	}
	return conditions
}
