package pages

import (
	"slices"
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/alerts"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/history"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/workload"
)

func alert(key string, seen time.Time) alerts.Open {
	return alerts.Open{Alert: alerts.Alert{Key: key, Text: "something is wrong.", Page: "/sources"}, SeenAt: seen}
}

// points are deliveries, given as pairs of a result and an age.
func points(now time.Time, pairs ...any) lately {
	all := lately{At: now}
	for i := 0; i < len(pairs); i += 2 {
		age, _ := pairs[i+1].(time.Duration) // the number 0 is now
		all.Points = append(all.Points, history.DeliveryPoint{At: now.Add(-age), Result: pairs[i].(string), Deliveries: 1})
	}
	return all
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	well := func() facts {
		return facts{
			work: work{
				Programs: []catalog.Program{{Role: "all"}},
				JobTypes: []workload.JobType{{Kind: "book", Programs: 1}},
			},
			LastEvent: ago(time.Minute), Now: now,
		}
	}
	for name, test := range map[string]struct {
		change     func(*facts)
		tone, text string
		also       int
	}{
		"well":                    {func(*facts) {}, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"no event":                {func(f *facts) { f.LastEvent = nil }, "ok", "All is well. No event has arrived yet: send a test delivery, or wait for the first one.", 0},
		"retrying":                {func(f *facts) { f.JobTypes[0].Retrying = 2 }, "ok", "All is well. 2 runs are retried automatically.", 0},
		"nothing receives":        {func(f *facts) { f.Programs[0].Role = "worker" }, "bad", "No running program receives deliveries. Start one: Lumin repeats deliveries for about a day.", 0},
		"nothing works":           {func(f *facts) { f.Programs[0].Role = "ingest" }, "bad", "No running program works jobs. Deliveries are recorded, and their runs wait: start a program that works.", 0},
		"very many held lanes":    {func(f *facts) { f.Held = []lanes.Held{{Kind: "book", Lanes: 9000, More: true, Age: 60}} }, "bad", "At least 9\u202f000 lanes of book are held by a failed run, the longest for 1 min. Later events of these signature requests wait.", 0},
		"a held lane":             {func(f *facts) { f.Held = []lanes.Held{{Kind: "book", Lanes: 1, Age: 60}} }, "bad", "1 lane of book is held by a failed run, the longest for 1 min. Later events of these signature requests wait.", 0},
		"a warning":               {func(f *facts) { f.Warnings = []string{"source x is odd"} }, "warn", "Source x is odd.", 0},
		"a rotated key":           {func(f *facts) { f.Sources = []SourceLine{{Source: "account", MismatchesSince: 12}} }, "bad", "Source account refused its last 12 deliveries: no key explains their signatures. Its key may have been rotated.", 0},
		"a stranger":              {func(f *facts) { f.Sources = []SourceLine{{Source: "account", MismatchesSince: 2}} }, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"a conflict":              {func(f *facts) { f.Conflicts.All = 1 }, "warn", "1 conflict waits for a decision.", 0},
		"two signers":             {func(f *facts) { f.Conflicts = conflict.Undecided{All: 1, TwoSigners: 1} }, "warn", "1 conflict between two signers waits for a decision.", 0},
		"very many conflicts":     {func(f *facts) { f.Conflicts.All = conflict.UndecidedCounted }, "warn", "At least 10\u202f000 conflicts wait for a decision.", 0},
		"many conflicts":          {func(f *facts) { f.Conflicts = conflict.Undecided{All: 100, TwoSigners: 2} }, "warn", "100 conflicts wait for a decision, 2 of them between two signers.", 0},
		"an alert":                {func(f *facts) { f.Alerts = []alerts.Open{alert("silence/account", now)} }, "warn", "Something is wrong.", 0},
		"a judged alert":          {func(f *facts) { f.Alerts = []alerts.Open{alert("failure/book/1f2e", now)} }, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"a key rotated elsewhere": {func(f *facts) { f.Alerts = []alerts.Open{alert("mismatch/account", now)} }, "bad", "Something is wrong.", 0},
		"a key rotated here and elsewhere": {func(f *facts) {
			f.Alerts = []alerts.Open{alert("mismatch/account", now), alert("mismatch/app:crm", now)}
			f.Sources = []SourceLine{{Source: "account", MismatchesSince: 12}, {Source: "app:crm", MismatchesSince: 9}}
		}, "bad", "Source account refused its last 12 deliveries: no key explains their signatures. Its key may have been rotated.", 1},
		"a backlog of follow-up jobs": {func(f *facts) {
			f.Alerts, f.Queues = []alerts.Open{alert("backlog/mail", now)}, []workload.Queue{{Name: "mail", Oldest: ago(time.Hour)}}
		}, "warn", "Something is wrong.", 0},
		"a backlog that has ended": {func(f *facts) {
			f.Alerts, f.Queues = []alerts.Open{alert("backlog/mail", now)}, []workload.Queue{{Name: "mail"}}
		}, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"a backlog of a paused queue": {func(f *facts) {
			f.Alerts, f.Queues = []alerts.Open{alert("backlog/mail", now)}, []workload.Queue{{Name: "mail", Oldest: ago(time.Hour), PausedAt: ago(time.Hour), Queued: 3}}
		}, "warn", "Queue mail is paused, for 1 h. 3 jobs wait in it.", 0},
		"a backlog of runs": {func(f *facts) {
			f.Alerts, f.Queues = []alerts.Open{alert("backlog/default", now)}, []workload.Queue{{Name: "default", Oldest: ago(time.Hour)}}
			f.JobTypes[0].Queue, f.JobTypes[0].Queued, f.JobTypes[0].Oldest = "default", 5, ago(time.Hour)
		}, "warn", "5 runs of book are queued; the oldest pending run has waited for 1 h.", 0},
		"unrecognized": {func(f *facts) {
			f.Lately = points(now, "unrecognized", 50*time.Minute, "recorded", 0, "unrecognized", 0)
		}, "warn",
			"2 deliveries of the last hour had no usable identity, so no job type got them. Look at a body: Lumin may have changed its form.", 0},
		"not recorded": {func(f *facts) { f.Lately = points(now, "unavailable", 9*time.Minute, "recorded", 0) }, "warn",
			"1 delivery was not recorded in the last 10 minutes: the program answered with an error of its own. Lumin repeats them. Check the database, then the log.", 0},
		"not recorded long ago": {func(f *facts) { f.Lately = points(now, "unavailable", 11*time.Minute, "refused", 0, "duplicate", 0) }, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"a stale alert":         {func(f *facts) { f.Alerts = []alerts.Open{alert("silence/account", now.Add(-time.Hour))} }, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"many alerts":           {func(f *facts) { f.Alerts = slices.Repeat([]alerts.Open{alert("silence/account", now)}, 12) }, "warn", "Something is wrong.", alertsShown},
		"no webhook":            {func(f *facts) { f.Sending.Failures = 3 }, "warn", "Alerts do not arrive: the webhook has not accepted the last 3 messages.", 0},
		"a late event":          {func(f *facts) { f.Late = store.WaitingLate{Events: 1} }, "warn", "1 late event waits for a decision: no job type has run.", 0},
		"many late events":      {func(f *facts) { f.Late = store.WaitingLate{Events: 400, More: true} }, "warn", "At least 400 late events wait for a decision: no job type has run.", 0},
		"a paused queue":        {func(f *facts) { f.Queues = []workload.Queue{{Name: "slow", PausedAt: ago(time.Hour), Queued: 3}} }, "warn", "Queue slow is paused, for 1 h. 3 jobs wait in it.", 0},
		"a paused queue of the program": {func(f *facts) {
			f.Queues = []workload.Queue{{Name: "lumin_periodic", PausedAt: ago(time.Hour), Queued: 3}}
		}, "bad",
			"Queue lumin_periodic is paused, for 1 h. 3 jobs wait in it. Until it is resumed, retention, erasures, the sweep and periodic jobs do not run.", 0},
		"an unknown kind": {func(f *facts) { f.JobTypes[0] = workload.JobType{Kind: "old", Queued: 1} }, "bad", "1 run waits of old, which no running program has registered.", 0},
		"a backlog":       {func(f *facts) { f.JobTypes[0].Queued, f.JobTypes[0].Oldest = 5, ago(time.Hour) }, "warn", "5 runs of book are queued; the oldest pending run has waited for 1 h.", 0},
		"a short backlog": {func(f *facts) { f.JobTypes[0].Queued, f.JobTypes[0].Oldest = 5, ago(time.Minute) }, "ok", "All is well. Every run has succeeded or is about to start.", 0},
		"a failure, paused": {func(f *facts) {
			f.JobTypes[0].Failed = 1
			f.Failed.Groups = []failures.Group{{Kind: "book", Runs: 1, Exact: true, Error: "timeout"}}
			f.Conflicts.All = 1
		}, "bad", "1 run has failed for good, of book: timeout", 1},
		"many groups of failures": {func(f *facts) {
			f.JobTypes[0].Failed = 1000
			f.Failed.Groups = slices.Repeat([]failures.Group{{Kind: "book", Runs: 50, Exact: true, Error: "timeout"}}, 20)
		}, "bad", "1\u202f000 runs have failed for good. The largest group, 50, is of book: timeout", 0},
		"an estimated group of failures": {func(f *facts) {
			f.JobTypes[0].Failed = 9
			f.Failed.Groups = []failures.Group{{Kind: "book", Runs: 12, Error: "timeout"}}
		}, "bad", "9 runs have failed for good. The largest group, about 9, is of book: timeout", 0},
		"a rotated key first": {func(f *facts) {
			f.Sources = []SourceLine{{Source: "account", MismatchesSince: 12}}
			f.JobTypes[0].Failed, f.Held = 2, []lanes.Held{{Kind: "book", Lanes: 1, Age: 60}}
		}, "bad", "Source account refused its last 12 deliveries: no key explains their signatures. Its key may have been rotated.", 2},
		"a key rotated elsewhere first": {func(f *facts) {
			f.Alerts = []alerts.Open{alert("silence/account", now), alert("mismatch/account", now)}
			f.JobTypes[0].Failed = 2
		}, "bad", "Something is wrong.", 2},
		"a warning first": {func(f *facts) { f.Warnings = []string{"x"}; f.JobTypes[0].Failed = 2 }, "bad", "2 runs have failed for good.", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := well()
			test.change(&f)
			v := judge(f)
			if v.Tone != test.tone || v.First.Text != test.text || len(v.Also) != test.also {
				t.Errorf("%+v", v)
			}
			if v.Tone != "ok" && v.First.Do.Path == "" {
				t.Error("the verdict does not say what to do")
			}
		})
	}
}
