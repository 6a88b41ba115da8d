package pages_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// steps are the moments of the runs on the page of an event, without their day.
func (p *page) steps() (steps []string) {
	for _, li := range p.all("li") {
		if !strings.HasPrefix(attribute(li, "id"), "step-") {
			continue
		}
		var texts []string
		for n := range li.Descendants() {
			if n.Type == html.TextNode {
				texts = append(texts, strings.Fields(n.Data)...)
			}
		}
		steps = append(steps, strings.TrimPrefix(strings.Join(texts, " "), "2026-01-01 "))
	}
	return steps
}

// storyBegins makes the run of event 1 fail at 10:05 with job 100, after two attempts.
// The job has the id 100 and no state of its own.
const storyBegins = `
	CREATE FUNCTION lumin.at(minute int) RETURNS timestamptz LANGUAGE sql RETURN '2026-01-01 10:00Z'::timestamptz + interval '1 min' * minute;
	CREATE FUNCTION lumin.try(attempt int, minute int) RETURNS jsonb LANGUAGE sql
	RETURN jsonb_build_object('at', lumin.at(minute), 'attempt', attempt, 'error', 'no', 'trace', '');
	CREATE FUNCTION lumin.ended(replay bigint, job bigint, attempts int, minute int, errors jsonb[]) RETURNS void LANGUAGE sql
	BEGIN ATOMIC
		INSERT INTO lumin.failures (event_key, job_kind, replay_id, job_id, state, attempts, failed_at, errors)
		SELECT event_key, 'mail', replay, job, 'failed', attempts, lumin.at(minute), errors FROM lumin.events;
	END;
	CREATE FUNCTION lumin.ordered(replay bigint, state text, minute int) RETURNS void LANGUAGE sql
	BEGIN ATOMIC
		INSERT INTO lumin.replays (id, status, state, enqueued, started_at, finished_at) OVERRIDING SYSTEM VALUE
		VALUES (replay, 'failed', state, 1, lumin.at(minute), now());
	END;
	UPDATE lumin.runs SET state = 'failed', created_at = lumin.at(0), pending_since = lumin.at(0), finished_at = lumin.at(5), job_id = 100, attempts = 2, error = 'no';
	DELETE FROM lumin.river_job;
	INSERT INTO lumin.river_job (id, args, kind, max_attempts, attempt, state, finalized_at, errors)
	SELECT 100, jsonb_build_object('event_key', event_key, 'replay_id', 0), 'mail', 5, 2, 'discarded', lumin.at(5), ARRAY[lumin.try(1, 1), lumin.try(2, 5)] FROM lumin.events`

// The moments of a run are in order, each once, and say what made the run pending
// again. Where the data does not say when that was, neither does the page.
func TestStory(t *testing.T) {
	t.Parallel()
	first := []string{"10:00:00 Queued", "10:01:00 Attempt 1 failed no", "10:05:00 Attempt 2 failed no", "10:05:00 Failed after 2 attempts"}
	const fails = `SELECT lumin.ended(0, 100, 2, 5, ARRAY[lumin.try(1, 1), lumin.try(2, 5)]);`
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"failed": {fails, first},
		"two replays and a retry in River": {fails + `
			SELECT lumin.ordered(3, 'done', 10), lumin.ordered(7, 'done', 20);
			SELECT lumin.ended(3, 101, 1, 11, ARRAY[lumin.try(1, 11)]);
			SELECT lumin.ended(3, 101, 2, 15, ARRAY[lumin.try(1, 11), lumin.try(2, 15)]);
			UPDATE lumin.runs SET replay_id = 7, job_id = 102, state = 'pending', pending_since = lumin.at(21), finished_at = NULL;
			UPDATE lumin.river_job SET id = 102, state = 'retryable', finalized_at = NULL, attempt = 1, scheduled_at = lumin.at(60), errors = ARRAY[lumin.try(1, 22)]`,
			slices.Concat(first, []string{
				"10:10:00 Start of Replay 3", "10:11:00 Attempt 1 failed no", "10:11:00 Failed after 1 attempt in Replay 3",
				"– The job was retried in River", "10:15:00 Attempt 2 failed no", "10:15:00 Failed after 2 attempts in Replay 3",
				"10:21:00 Queued again by Replay 7", "10:22:00 Attempt 1 failed no", "11:00:00 Attempt 2 follows",
			})},
		"retried in River": {fails + `
			UPDATE lumin.river_job SET state = 'available', finalized_at = NULL;
			UPDATE lumin.runs SET state = 'succeeded', pending_since = lumin.at(10), finished_at = lumin.at(11), attempts = 3`,
			slices.Concat(first, []string{"10:10:00 The job was retried in River", "10:11:00 Succeeded in attempt 3"})},
		"failed after a retry in River": {fails + `
			SELECT lumin.ended(0, 100, 3, 11, ARRAY[lumin.try(1, 1), lumin.try(2, 5), lumin.try(3, 11)]);
			UPDATE lumin.runs SET pending_since = lumin.at(10), finished_at = lumin.at(11), attempts = 3`,
			slices.Concat(first, []string{"10:10:00 The job was retried in River", "10:11:00 Attempt 3 failed no", "10:11:00 Failed after 3 attempts"})},
		"replay of a retrying run": {`
			SELECT lumin.ordered(4, 'running', 3);
			UPDATE lumin.runs SET replay_id = 4, state = 'pending', finished_at = NULL;
			UPDATE lumin.river_job SET state = 'retryable', finalized_at = NULL, scheduled_at = lumin.at(60)`,
			[]string{"10:00:00 Queued", "10:01:00 Attempt 1 failed no", "10:03:00 Start of Replay 4", "10:05:00 Attempt 2 failed no", "11:00:00 Attempt 3 follows"}},
		"a replay that is cancelled": {fails + `
			SELECT lumin.ordered(3, 'cancelled', 10);
			UPDATE lumin.runs SET replay_id = 3, job_id = NULL, pending_since = lumin.at(11), finished_at = lumin.at(12)`,
			slices.Concat(first, []string{"10:11:00 Queued again by Replay 3", "10:12:00 Restored, because the replay was cancelled"})},
		"erased while it was pending": {`
			DELETE FROM lumin.river_job;
			UPDATE lumin.runs SET state = 'cancelled', error = NULL, finished_at = lumin.at(9)`,
			[]string{"10:00:00 Queued", "10:09:00 Cancelled"}},
		"erased after it failed": {`
			SELECT lumin.ended(0, 100, 2, 5, NULL);
			DELETE FROM lumin.river_job;
			UPDATE lumin.runs SET state = 'cancelled', error = NULL`,
			[]string{"10:00:00 Queued", "10:05:00 Failed after 2 attempts", "– Cancelled"}},
		"cancelled by its job type": {`
			SELECT lumin.ended(0, 100, 2, 5, ARRAY[lumin.try(1, 1), lumin.try(2, 5)]);
			UPDATE lumin.failures SET state = 'cancelled';
			UPDATE lumin.runs SET state = 'cancelled'`,
			slices.Concat(first[:3], []string{"10:05:00 Cancelled after 2 attempts"})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.register(false, "mail")
			r.record(delivery(1, "title", "mail"))
			for _, sql := range []string{storyBegins, c.sql} {
				r.exec(sql)
			}
			if got := r.get("/events/1").want(200).steps(); !slices.Equal(got, c.want) {
				t.Errorf("steps\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
