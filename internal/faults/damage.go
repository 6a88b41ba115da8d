//go:build unix

package faults

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// damage is one way to violate an invariant in a correct database. It names the
// checker that must notice it.
type damage struct {
	what   string
	sql    string
	notice string
}

// one selects the event to damage: an acknowledged one that has all its runs.
const one = `(SELECT event_key FROM faults.ledger WHERE acks > 0 AND NOT forged ORDER BY event_key LIMIT 1)`

// request is the signature request of that event.
const request = `(SELECT signature_request_id FROM lumin.events WHERE event_key = ` + one + ` LIMIT 1)`

// transactional is the job type whose run or effect is damaged.
const transactional = `'` + EffectKind + `'`

// lastOfLane selects the effect of the ordered job type for the last event of a
// signature request with several.
const lastOfLane = `rerun = 0 AND job_kind = '` + OrderedKind + `' AND event_key = (
SELECT event_key FROM lumin.events WHERE signature_request_id = (
    SELECT signature_request_id FROM lumin.events GROUP BY signature_request_id HAVING count(DISTINCT event_key) > 2 ORDER BY 1 LIMIT 1)
ORDER BY event_time DESC, event_key DESC LIMIT 1)`

//nolint:gochecknoglobals // a table
var damages = []damage{
	{"an acknowledged event is lost", `
DELETE FROM lumin.events WHERE event_key = ` + one, AckedOnce},
	{"an event is stored under another id", `
UPDATE faults.ledger SET event_id = event_id + 1 WHERE event_key = ` + one, AckedOnce},
	{"an event is stored twice", `
ALTER TABLE lumin.events DROP CONSTRAINT events_event_key_source_key;
INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
SELECT event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at
FROM lumin.events WHERE event_key = ` + one, AckedOnce},
	{"a run is lost", `
DELETE FROM lumin.runs WHERE event_key = ` + one + ` AND job_kind = ` + transactional, RunOnce},
	{"a run without an effect is lost", `
DELETE FROM lumin.runs WHERE event_key = ` + one + ` AND job_kind = '` + stateKind + `'`, RunOnce},
	{"a run is stored twice", `
ALTER TABLE lumin.runs DROP CONSTRAINT runs_pkey;
DO $$ DECLARE copy regclass; BEGIN -- a REINDEX CONCURRENTLY that was cancelled leaves one
    FOR copy IN SELECT indexrelid FROM pg_index WHERE indrelid = 'lumin.runs'::regclass AND indisunique LOOP
        EXECUTE format('DROP INDEX %s', copy);
    END LOOP;
END $$;
INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
SELECT event_key, job_kind, event_id, state, finished_at FROM lumin.runs
WHERE event_key = ` + one + ` AND job_kind = ` + transactional, RunOnce},
	{"a run belongs to no event", `
UPDATE lumin.runs SET event_key = gen_random_uuid() WHERE event_key = ` + one + ` AND job_kind = ` + transactional, RunOnce},
	{"a pending run lost its job", `
UPDATE lumin.runs SET state = 'pending', finished_at = NULL WHERE event_key = ` + one + ` AND job_kind = ` + transactional + `;
DELETE FROM lumin.river_job WHERE args @> jsonb_build_object('event_key', ` + one + `)`, LiveJob},
	{"a pending run's job is of an older replay", `
UPDATE lumin.runs SET state = 'pending', finished_at = NULL, replay_id = replay_id + 1 WHERE event_key = ` + one + ` AND job_kind = ` + transactional + `;
INSERT INTO lumin.river_job (args, kind, max_attempts)
SELECT jsonb_build_object('event_key', event_key, 'replay_id', replay_id - 1), job_kind, 5 FROM lumin.runs
WHERE event_key = ` + one + ` AND job_kind = ` + transactional, LiveJob},
	{"an effect is lost", `
DELETE FROM faults.effects WHERE event_key = ` + one + ` AND job_kind = ` + transactional, EffectOnce},
	{"an effect took place twice", `
INSERT INTO faults.effects (event_key, job_kind, rerun)
SELECT event_key, job_kind, rerun FROM faults.effects WHERE event_key = ` + one + ` AND job_kind = ` + transactional + ` LIMIT 1`, EffectOnce},
	{"an effect belongs to no event", `
INSERT INTO faults.effects (event_key, job_kind, rerun) SELECT gen_random_uuid(), ` + transactional + `, 0`, EffectOfRun},
	{"an effect was repeated although no replay asked for it", `
INSERT INTO faults.effects (event_key, job_kind, rerun)
SELECT event_key, job_kind, rerun + 1 FROM lumin.runs WHERE event_key = ` + one + ` AND job_kind = ` + transactional, EffectOfRun},
	{"a run was repeated although no replay asked for it", `
UPDATE lumin.runs r SET rerun = rerun + 1 + coalesce((SELECT times FROM faults.asked a WHERE a.event_key = r.event_key), 0)
WHERE event_key = ` + one + ` AND job_kind = ` + transactional, NotAsked},
	{"a run without an effect was repeated although no replay asked for it", `
UPDATE lumin.runs r SET rerun = rerun + 1 + coalesce((SELECT times FROM faults.asked a WHERE a.event_key = r.event_key), 0)
WHERE event_key = ` + one + ` AND job_kind = '` + stateKind + `'`, NotAsked},
	{"a plain job type was never called", `
DELETE FROM faults.calls WHERE event_key = ` + one, Called},
	{"an event is stored that was never sent", `
INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
VALUES (gen_random_uuid(), 'account', '{}', sha256('{}'), '', 'k', now())`, OnlySent},
	{"a forged delivery is stored", `
UPDATE faults.ledger SET forged = true WHERE event_key = ` + one, OnlySent},
	{"a stored body has been changed", `
UPDATE lumin.events SET payload = payload || ' ' WHERE event_key = ` + one, OnlySent},
	{"a redelivery is a conflict", `
INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, payload, count, first_at, last_at)
SELECT id, sha256('{}'), 'content', '{}', 1, now(), now() FROM lumin.events WHERE event_key = ` + one + ` LIMIT 1`, NoConflict},
	{"a redelivery is counted that was not sent", `
INSERT INTO lumin.redeliveries AS d (event_id, payload_sha256, differs, count, first_at, last_at)
SELECT e.id, e.payload_sha256, 'nothing', l.attempts, now(), now()
FROM lumin.events e JOIN faults.ledger l ON l.event_key = e.event_key AND l.source = e.source
WHERE e.event_key = ` + one + ` LIMIT 1
ON CONFLICT (event_id, payload_sha256) DO UPDATE SET count = excluded.count`, NoSecondCount},
	{"a signature request has the status of an earlier event", `
UPDATE lumin.signature_requests SET status = 'NEED_TO_SIGN' WHERE signature_request_id = ` + request, SameState},
	{"a signature request has missed its latest event", `
UPDATE lumin.signature_requests SET last_event_time = last_event_time - interval '1 ms' WHERE signature_request_id = ` + request, SameState},
	{"a signature request has no state", `
DELETE FROM lumin.signature_requests WHERE signature_request_id = ` + request, SameState},
	{"a run has failed permanently", `
UPDATE lumin.runs SET state = 'failed' WHERE event_key = ` + one + ` AND job_kind = ` + transactional, AllDone},
	{"a run is parked", `
UPDATE lumin.runs SET state = 'parked', finished_at = NULL WHERE event_key = ` + one + ` AND job_kind = '` + OrderedKind + `'`, AllDone},
	{"an event took effect before an earlier one", `
UPDATE faults.effects SET tx_began = now(), began = '-infinity', at = '-infinity' WHERE ` + lastOfLane, InOrder},
	{"two events of a signature request were worked at the same time", `
UPDATE faults.effects SET tx_began = '-infinity', began = '-infinity', at = 'infinity' WHERE ` + lastOfLane, OneAtATime},
	{"a replay is not finished", `
UPDATE lumin.replays SET state = 'running', finished_at = NULL WHERE id = (SELECT max(id) FROM lumin.replays)`, AllDone},
}

// Falsify damages a correct database in many ways and returns their number.
// Each damage is made in a transaction that is rolled back. Falsify returns an
// error unless the checkers notice every damage.
func Falsify(ctx context.Context, conn *pgx.Conn) (int, error) {
	var errs []error
	for _, d := range damages {
		if err := d.tryOn(ctx, conn); err != nil {
			errs = append(errs, fmt.Errorf("falsified: %s: %w", d.what, err))
		}
	}
	return len(damages), errors.Join(errs...)
}

func (d damage) tryOn(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, d.sql); err != nil {
		return err
	}
	for _, c := range checkers {
		if c.Name != d.notice {
			continue
		}
		v, err := c.check(ctx, tx)
		if err != nil || v.Count > 0 {
			return err
		}
	}
	return fmt.Errorf("not noticed by %q", d.notice)
}
