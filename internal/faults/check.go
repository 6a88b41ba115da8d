//go:build unix

package faults

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schemaSQL creates the tables that the job types of a run write to. It also
// creates the tables with which the checks compare the database.
const schemaSQL = `
CREATE SCHEMA faults;
CREATE TABLE faults.effects (
    event_key uuid NOT NULL,
    job_kind  text NOT NULL,
    rerun     integer NOT NULL,
    tx_began  timestamptz NOT NULL DEFAULT now(),
    began     timestamptz, -- by the ordered job type only
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    program   text -- that worked the job; NULL if its version does not say
);
CREATE INDEX ON faults.effects (event_key);
CREATE TABLE faults.kinds (
    kind    text PRIMARY KEY,
    effects boolean NOT NULL, -- leaves a row in faults.effects
    calls   boolean NOT NULL  -- leaves a line in the file of calls
);
CREATE TABLE faults.ledger (
    event_key      uuid NOT NULL,
    source         text NOT NULL,
    payload_sha256 bytea NOT NULL,
    forged         boolean NOT NULL,
    acks           integer NOT NULL,
    attempts       integer NOT NULL,
    event_id       bigint NOT NULL,
    acked_at       timestamptz, -- when a client received the first 200
    PRIMARY KEY (event_key, source)
);
CREATE TABLE faults.calls (
    event_key uuid NOT NULL,
    job_kind  text NOT NULL,
    rerun     integer NOT NULL,
    count     integer NOT NULL,
    PRIMARY KEY (event_key, job_kind, rerun)
);
CREATE TABLE faults.asked (
    event_key uuid PRIMARY KEY,
    times     integer NOT NULL
);`

// Checker is one invariant: its query returns a row for each violation.
type Checker struct {
	Name string // number of the invariant, I1 to I7, and its text
	sql  string
}

// Names of the checkers.
const (
	AckedOnce     = "I1: an acknowledged delivery has exactly one row, with the id that was answered"
	RunOnce       = "I2: an event has exactly one run per job type"
	LiveJob       = "I2: a pending run has a live job"
	EffectOnce    = "I3: a transactional job type took effect once, and once more per replay of the run"
	EffectOfRun   = "I3: every effect belongs to a run that succeeded"
	Called        = "I3: a plain job type was called for every run that succeeded"
	NotAsked      = "I3: no run was repeated more often than it was replayed"
	OnlySent      = "I4: every row was sent with this body and a valid signature"
	NoConflict    = "I4: a redelivery has the content of the first delivery"
	NoSecondCount = "I4: redeliveries are counted no more often than they were sent"
	SameState     = "I5: the state of a signature request is that of its latest events, in whichever order they came"
	AllDone       = "I6: no run is left pending, parked or failed, and no replay open"
	InOrder       = "I7: an event takes effect after the earlier ones of its signature request"
	OneAtATime    = "I7: the events of a signature request are worked one at a time"
)

// checkers lists all invariants. They must hold when all work of a run is done.
// They read the tables that load has filled.
//
//nolint:gochecknoglobals // a table
var checkers = []Checker{
	{AckedOnce, `
SELECT format('%s of %s was acknowledged as event %s and has %s rows', l.event_key, l.source, l.event_id, count(e.id))
FROM faults.ledger l LEFT JOIN lumin.events e ON e.event_key = l.event_key AND e.source = l.source
WHERE l.acks > 0
GROUP BY l.event_key, l.source, l.event_id HAVING count(e.id) <> 1 OR min(e.id) <> l.event_id`},
	{RunOnce, `
SELECT format('event %s has %s runs of %s', w.event_key, coalesce(r.n, 0), w.kind)
FROM (
    SELECT DISTINCT e.event_key, k.kind FROM lumin.events e CROSS JOIN faults.kinds k
) w
FULL JOIN (
    SELECT event_key, job_kind, count(*) AS n FROM lumin.runs GROUP BY event_key, job_kind
) r ON r.event_key = w.event_key AND r.job_kind = w.kind
WHERE w.event_key IS NULL OR r.n IS DISTINCT FROM 1`},
	{LiveJob, `
SELECT format('run %s of event %s is pending without a job', r.job_kind, r.event_key)
FROM lumin.runs r
WHERE r.state = 'pending' AND NOT EXISTS (
    SELECT FROM lumin.river_job j
    WHERE j.kind = r.job_kind AND j.args ->> 'event_key' = r.event_key::text AND j.args -> 'replay_id' = to_jsonb(r.replay_id)
      AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))`},
	{EffectOnce, `
SELECT format('event %s, %s, repetition %s: %s effects', r.event_key, r.job_kind, n.rerun, count(f.event_key))
FROM lumin.runs r
JOIN faults.kinds k ON k.kind = r.job_kind AND k.effects
CROSS JOIN LATERAL generate_series(0, r.rerun) AS n (rerun)
LEFT JOIN faults.effects f ON f.event_key = r.event_key AND f.job_kind = r.job_kind AND f.rerun = n.rerun
WHERE r.state = 'succeeded'
GROUP BY r.event_key, r.job_kind, n.rerun HAVING count(f.event_key) <> 1`},
	{EffectOfRun, `
SELECT format('an effect of event %s, %s, repetition %s, belongs to no such run', f.event_key, f.job_kind, f.rerun)
FROM faults.effects f
LEFT JOIN lumin.runs r ON r.event_key = f.event_key AND r.job_kind = f.job_kind AND f.rerun BETWEEN 0 AND r.rerun
WHERE r.event_key IS NULL`},
	{Called, `
SELECT format('event %s, %s, repetition %s: never called', r.event_key, r.job_kind, n.rerun)
FROM lumin.runs r
JOIN faults.kinds k ON k.kind = r.job_kind AND k.calls
CROSS JOIN LATERAL generate_series(0, r.rerun) AS n (rerun)
LEFT JOIN faults.calls c ON c.event_key = r.event_key AND c.job_kind = r.job_kind AND c.rerun = n.rerun
WHERE r.state = 'succeeded' AND coalesce(c.count, 0) < 1`},
	{NotAsked, `
SELECT format('run %s of event %s was repeated %s times; replays asked for it %s times', r.job_kind, r.event_key, r.rerun, coalesce(a.times, 0))
FROM lumin.runs r LEFT JOIN faults.asked a ON a.event_key = r.event_key
WHERE r.rerun > coalesce(a.times, 0)`},
	{OnlySent, `
SELECT format('event %s, %s of %s, was not sent like this', e.id, e.event_key, e.source)
FROM lumin.events e
LEFT JOIN faults.ledger l ON l.event_key = e.event_key AND l.source = e.source AND NOT l.forged
WHERE l.event_key IS NULL OR e.payload IS NULL OR sha256(e.payload) <> l.payload_sha256 OR e.payload_sha256 <> l.payload_sha256`},
	{NoConflict, `
SELECT format('a redelivery of event %s differs: %s', event_id, differs)
FROM lumin.redeliveries WHERE differs <> 'nothing'`},
	{NoSecondCount, `
SELECT format('event %s has %s redeliveries after %s attempts', e.id, d.count, l.attempts)
FROM lumin.redeliveries d
JOIN lumin.events e ON e.id = d.event_id
JOIN faults.ledger l ON l.event_key = e.event_key AND l.source = e.source
WHERE d.count > l.attempts - 1`},
	// Of the events of one millisecond, the one with the higher place is the later
	// one. An event that ends a request decides its status, even against a later
	// one that does not. The events of the clients have these four types.
	{SameState, `
WITH told AS MATERIALIZED (
    SELECT e.signature_request_id, e.event_type, e.event_time, t.place, t.status, t.ends
    FROM lumin.events e
    LEFT JOIN (VALUES ('signature_request_signed', 1, 'WAITING_FOR_OTHERS', false), ('signature_request_approved', 2, 'APPROVED', true),
                      ('signature_request_declined', 3, 'REJECTED', true), ('signature_request_canceled', 4, 'CANCELLED', true)
    ) AS t (event_type, place, status, ends) USING (event_type)
), latest AS (
    SELECT DISTINCT ON (signature_request_id) * FROM told ORDER BY signature_request_id, event_time DESC, place DESC
), deciding AS (
    SELECT DISTINCT ON (signature_request_id) * FROM told ORDER BY signature_request_id, ends DESC, event_time DESC, place DESC
)
SELECT format('signature request %s is %s after %s, its events say %s after %s', signature_request_id,
       s.status, s.last_event_type, d.status, l.event_type)
FROM latest l JOIN deciding d USING (signature_request_id) FULL JOIN lumin.signature_requests s USING (signature_request_id)
WHERE (s.status, s.last_event_type, s.last_event_time) IS DISTINCT FROM (d.status, l.event_type, l.event_time)`},
	{AllDone, `
SELECT format('run %s of event %s is %s: %s', job_kind, event_key, state, error) FROM lumin.runs WHERE state <> 'succeeded'
UNION ALL
SELECT format('replay %s is %s', id, state) FROM lumin.replays WHERE finished_at IS NULL`},
	// An earlier event counts if it was acknowledged before the transaction of the
	// later one began. Then it was stored, and no failure may let the later one
	// pass. A repetition has no place in the order of the first effects.
	{InOrder, laneEffects + `
SELECT format('event %s took effect at %s, before event %s at %s', b.event_key, b.began, a.event_key, a.at)
FROM lane a JOIN lane b USING (signature_request_id)
WHERE (a.event_time, a.event_key) < (b.event_time, b.event_key) AND a.acked_at < b.tx_began
  AND a.at > b.began AND a.rerun = 0 AND b.rerun = 0`},
	{OneAtATime, laneEffects + `
SELECT format('event %s was worked from %s to %s and event %s from %s to %s', a.event_key, a.began, a.at, b.event_key, b.began, b.at)
FROM lane a JOIN lane b USING (signature_request_id)
WHERE (a.event_key, a.rerun) < (b.event_key, b.rerun) AND a.began < b.at AND b.began < a.at`},
}

// laneEffects adds its signature request, its place and its acknowledgment to
// each effect of the ordered job type.
const laneEffects = `
WITH lane AS MATERIALIZED (
    SELECT f.event_key, f.rerun, f.tx_began, f.began, f.at, e.signature_request_id, e.event_time, l.acked_at
    FROM faults.effects f
    JOIN (SELECT DISTINCT event_key, signature_request_id, event_time FROM lumin.events) e USING (event_key)
    JOIN (SELECT event_key, min(acked_at) AS acked_at FROM faults.ledger WHERE NOT forged GROUP BY event_key) l USING (event_key)
    WHERE f.job_kind = '` + OrderedKind + `')`

// violationsShown is how many violations of one invariant are described.
const violationsShown = 5

// Violation is an invariant that does not hold.
type Violation struct {
	Checker string
	Count   int
	Samples []string // the first few
}

// String describes the violation in a few lines.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %d violations\n  %s", v.Checker, v.Count, strings.Join(v.Samples, "\n  "))
}

// rowQuerier is a connection or a transaction.
type rowQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Check returns the invariants that do not hold.
func Check(ctx context.Context, db rowQuerier) ([]Violation, error) {
	var all []Violation
	for _, c := range checkers {
		v, err := c.check(ctx, db)
		if err != nil {
			return nil, err
		}
		if v.Count > 0 {
			all = append(all, v)
		}
	}
	return all, nil
}

// check counts the violations of one invariant.
func (c Checker) check(ctx context.Context, db rowQuerier) (Violation, error) {
	v := Violation{Checker: c.Name}
	rows, err := db.Query(ctx, c.sql)
	if err != nil {
		return v, fmt.Errorf("check %s: %w", c.Name, err)
	}
	var sample string
	_, err = pgx.ForEachRow(rows, []any{&sample}, func() error {
		if v.Count++; v.Count <= violationsShown {
			v.Samples = append(v.Samples, sample)
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("check %s: %w", c.Name, err)
	}
	return v, nil
}
