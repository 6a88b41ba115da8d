package api

const exampleTime = "2026-11-27T09:30:00Z"

// properties explains every property by its name, or by TYPE.NAME where a type
// differs from the others. A property whose type is described elsewhere has no
// example here.
func properties() map[string]property {
	all := map[string]property{}
	for _, some := range []map[string]property{
		generalProperties(), eventProperties(), runProperties(), planProperties(), replayProperties(),
		laneProperties(), conflictProperties(), erasureProperties(), programProperties(), problemProperties(),
	} {
		for name, p := range some {
			all[name] = p
		}
	}
	return all
}

func generalProperties() map[string]property {
	return map[string]property{
		"id":          {"Its id.", 4711},
		"more":        {"Whether more match than limit says. If so, raise limit or narrow the filter.", false},
		"next":        {"The cursor of the next page; null on the last one.", nil},
		"state":       {"Its state.", "succeeded"},
		"count":       {"How many.", 12},
		"reason":      {"Why, in the words of the person. Do not name a person in it.", "the customer was archived"},
		"exact":       {"In a request: count every row, even if that takes long. In an answer: false if the numbers are estimates.", true},
		"may_miss":    {"A group of fewer runs may be missing from estimates; 0 if the numbers are exact.", 0},
		"created_at":  {"When it was created.", exampleTime},
		"started_at":  {"When it started; null before.", exampleTime},
		"finished_at": {"When it finished; null before.", exampleTime},
		"first_at":    {"When it happened first.", exampleTime},
		"last_at":     {"When it happened last.", exampleTime},
		"since":       {"Since when; null if it does not wait.", exampleTime},
		"done":        {"Always true.", true},
		"changed":     {"How many runs or jobs were changed, at least: some may have changed when the connection to the database broke.", 12},

		"Changed.more": {"Whether the time of a request was used up before all were changed. If so, send the order again with another key, for the rest.", false},

		"error": {"The last error, without personal data; null or empty if there was none.", "dial tcp: connection refused"},
	}
}

func eventProperties() map[string]property {
	return map[string]property{
		"events":                    {"One object for each event.", nil},
		"event_id":                  {"The event. Of a group: the newest one.", 4711},
		"event_ids":                 {"Events by their ids. Of an erasure: unrecognized events.", []any{4711}},
		"event_key":                 {"Identifies the event in every source.", "018a8f6c-0d2b-8e5b-9c1d-2f6a7b8c9d0e"},
		"source":                    {"Where it came from: account, app:NAME, or recovered if no webhook reported the event.", "account"},
		"sources":                   {"Sources: account, or app:NAME. Of a job type: empty means all.", []any{"account"}},
		"event_type":                {"Lumin's name of what happened; null if the event is unrecognized.", "signature_request_approved"},
		"event_types":               {"Lumin's names of what happened. Of a job type: empty means all.", []any{"signature_request_approved"}},
		"signature_request_id":      {"Lumin's id of the signature request; null if the event is unrecognized.", "66f2a1c0de"},
		"signature_request_ids":     {"Signature requests by Lumin's ids.", []any{"66f2a1c0de"}},
		"event_time":                {"When it happened, as Lumin says; null if the event is unrecognized.", exampleTime},
		"received_at":               {"When it was first received.", exampleTime},
		"redeliveries":              {"How often it was delivered again.", 1},
		"ErasurePlan.redeliveries":  {"Bodies of redeliveries.", 1},
		"ErasureOrder.redeliveries": {"Bodies of redeliveries.", 1},
		"EventSummary.runs":         {"How many runs are in each state.", map[string]any{"succeeded": 2}},
		"EventDetails.runs":         {"How many runs are in each state.", map[string]any{"succeeded": 2}},
		"late":                      {"True: the first delivery was authentic but too old, so the event was stored without runs. Absent otherwise.", true},
		"promoted_from":             {"The event whose conflict was made into this event. Only such an event has it.", 4710},
		"key_id":                    {"Fingerprint of the key that signed it.", "3f9a1c2b77e05d14"},
		"signature":                 {"Lumin's signature of the body, in hex.", "9f86d081884c7d65"},
		"payload":                   {"The exact body, in base64; null once it was removed.", "eyJldmVudCI6e319"},
		"payload_removed_at":        {"When retention or an erasure removed the body; null if it is stored.", nil},
		"payload_size":              {"Size of the body in bytes, 0 once it was removed; null if the server may not read bodies.", 1834},
		"repeated":                  {"Each distinct repeated body.", nil},
		"runs_by_kind":              {"The run of each job type.", nil},
		"differs":                   {"In what the repeated body differs from the first one: nothing, details_url, content (a conflict), or unknown if the first is gone. recovered: it is the original of a recovered event.", "nothing"},
		"payload_sha256":            {"SHA-256 of the body, in hex. Of a repeated body: empty for bodies that are not kept and counted together.", "9f86d081884c7d65"},
		"decoded_from":              {"The unrecognized event that this event was decoded from. Only such an event has it.", nil},
		"decoded_to":                {"The event that was decoded from this unrecognized one. Only such an event has it.", nil},
		"promoted_of":               {"The event that promoted_from names by its id.", nil},
		"promoted_to":               {"The event that was made from this body. Only such a body has it.", nil},
		"promoted_key":              {"Key of the event that a promotion of this conflict makes.", "018a8f6c-0d2b-8e5b-9c1d-2f6a7b8c9d0e"},
		"decision_reason":           {"Why the conflict was decided, in the words of the person.", "only the title was edited"},
		"repeated_bodies":           {"Each distinct repeated body. Only an export with bodies has them.", nil},
		"cursor":                    {"The value cursor of the answer before; without it, the tail begins.", nil},
		"lines":                     {"How many of the newest events to begin with.", 10},
		"masked":                    {"The body, with addresses, names and tokens masked; null if it is not JSON.", `{"signer_email":"a•••@example.com"}`},
	}
}

func runProperties() map[string]property {
	return map[string]property{
		"kind":               {"The job type.", "issue_invoice"},
		"job_kind":           {"The job type, or the kind of a follow-up job; null in a plan for unrecognized events.", "issue_invoice"},
		"job_kinds":          {"Job types, or kinds of follow-up jobs.", []any{"issue_invoice"}},
		"job_types":          {"Job types by their kinds.", []any{"issue_invoice"}},
		"replay_id":          {"The last replay that chose it; 0 if none did.", 0},
		"job_id":             {"Its job in River's queue; null if it has none.", 991},
		"job_ids":            {"Jobs by their ids in River's queue.", []any{991}},
		"attempts":           {"How many attempts there were.", 1},
		"succeeded_before":   {"Whether the run took effect before it was replayed. Of a group: how many runs did.", nil},
		"groups":             {"One object for each group.", nil},
		"error_fingerprint":  {"Errors with the same fingerprint differ only in numbers and names; none if the error is not known.", "a1b2c3d4"},
		"error_fingerprints": {"Errors by their fingerprints, as list-failures returns them.", []any{"a1b2c3d4"}},
		"fingerprints":       {"Error fingerprints.", []any{"a1b2c3d4"}},
		"complete":           {"Whether these are all: false if there are too many runs to read.", true},
		"stored":             {"Whether such runs are stored.", false},
		"next_attempt_at":    {"When the next attempt is; null while one is running, or if there is none.", exampleTime},
		"dismissals":         {"Why and by whom dismissed runs were dismissed: the most frequent first, at most five.", nil},
		"dismissed_by":       {"Who dismissed the runs.", "ops"},
		"follow_ups":         {"One object for each follow-up job.", nil},
		"registered_kinds":   {"The kinds of follow-up jobs that programs have registered.", []any{"send_copy"}},
		"failed_at":          {"When the last attempt failed.", exampleTime},
		"Group.state":        {"failed, retrying or dismissed.", "failed"},
	}
}

func planProperties() map[string]property {
	return map[string]property{
		"filter":            {"Which runs. A run must match each member that is given.", nil},
		"status":            {"Which runs are chosen: failed if it is left out.", "failed"},
		"received_since":    {"Only of events received at this time or later.", exampleTime},
		"received_until":    {"Only of events received before this time.", nil},
		"event_since":       {"Only of events that happened at this time or later.", nil},
		"event_until":       {"Only of events that happened before this time.", nil},
		"as_of":             {"Of a plan or a list: when it was read, by the database's clock. In a request: the as_of of a plan or a list, to leave out what happens after it. Null, left out or in the future: now.", exampleTime},
		"plan":              {"The runs by job type.", nil},
		"total_runs":        {"The runs of all job types.", 12},
		"left_out":          {"Runs that match and are left out; null if they were not counted.", nil},
		"runs":              {"How many runs.", 12},
		"first_received_at": {"When the first of the events was received.", exampleTime},
		"last_received_at":  {"When the last of the events was received.", exampleTime},
		"estimate_seconds":  {"How long the runs take at the rate of the last jobs; null if unknown.", 3.5},
		"without_body":      {"Runs whose body was removed by retention or an erasure.", 0},
		"dismissed":         {"Runs that are dismissed.", 0},
	}
}

func replayProperties() map[string]property {
	return map[string]property{
		"replays":             {"One object for each replay.", nil},
		"rate":                {"The most runs a second; 0 for no limit.", 0},
		"ordered_by":          {"Who ordered it.", "ops"},
		"planned":             {"Runs that matched at the start; null before.", 12},
		"planned_exactly":     {"false: planned is an estimate.", true},
		"enqueued":            {"Runs that were made pending so far.", 12},
		"withdrawn":           {"Of these, runs that a cancellation has restored.", 0},
		"enqueued_at":         {"When the last run became pending; null before.", exampleTime},
		"run_counts":          {"Its runs by job type and state: those of enqueued that are in neither withdrawn nor replayed_later.", nil},
		"replayed_later":      {"Runs of enqueued that later replays have taken, or that were removed with their events; 0 until the last run has become pending.", 0},
		"ReplayOrder.state":   {"ordered, running, done, cancelled, refused or failed.", "done"},
		"ReplayDetails.state": {"ordered, running, done, cancelled, refused or failed.", "done"},
	}
}

func laneProperties() map[string]property {
	return map[string]property{
		"lanes":             {"One object for each lane.", nil},
		"head_event_id":     {"The event of the first unfinished run.", 4711},
		"head_event_type":   {"The type of that event.", "signature_request_signed"},
		"head_event_time":   {"When that event happened.", exampleTime},
		"head_state":        {"The state of the first unfinished run: queued, running, retrying, parked or failed.", "failed"},
		"head_attempts":     {"How many attempts that run has had.", 3},
		"waiting":           {"How many runs are parked behind it.", 2},
		"age_seconds":       {"For how long the lane has waited or was held.", 81.5},
		"held_by":           {"The event whose failed run holds the lane; null if the lane is not held.", 4711},
		"held_by_event_key": {"The key of that event.", "018a8f6c-0d2b-8e5b-9c1d-2f6a7b8c9d0e"},
		"held_since":        {"When that run failed.", exampleTime},
		"policies":          {"What each ordered job type does after a failure: hold, skip or cancel.", map[string]any{"book_revenue": "hold"}},
		"skipped":           {"Whether the failed run was skipped. false: another run holds the lane by now, and nothing has changed.", true},
	}
}

func conflictProperties() map[string]property {
	return map[string]property{
		"conflicts":                {"One object for each conflict.", nil},
		"body":                     {"SHA-256 of the other body, in hex. Empty if it is not kept.", "9f86d081884c7d65"},
		"another_actor":            {"Whether the two bodies name different signers.", true},
		"decision":                 {"promote or dismiss in a request; promoted, dismissed or null in an answer.", nil},
		"DecisionRequest.decision": {"promote or dismiss.", "dismiss"},
		"decided_at":               {"When it was decided; null before.", nil},
		"decided_by":               {"Who decided; null before.", nil},
		"Conflict.reason":          {"Why; null before the decision.", nil},
		"promoted_id":              {"The event that the other body was made into; null if there is none.", nil},
		"first_signer":             {"The signer that the first body names. The address is masked, unless it is revealed.", "a•••@example.com"},
		"other_signer":             {"The signer that the other body names. The address is masked, unless it is revealed.", "b•••@example.com"},
		"worked_event_id":          {"The event that has the runs; null if there are none.", 4711},
	}
}

func erasureProperties() map[string]property {
	return map[string]property{
		"email":              {"Every signature request that mentions this address.", "ada@example.com"},
		"EraseRequest.plan":  {"The plan, as plan-erasure returned it.", nil},
		"subject":            {"signature_request or email. Of a change: what it was ordered for.", "signature_request"},
		"last_event_id":      {"Events that were recorded later stay.", 4711},
		"bodies":             {"Bodies of events.", 3},
		"errors":             {"Runs and failures with error texts.", 0},
		"runs_cancelled":     {"Unfinished, failed and dismissed runs, which are cancelled.", 0},
		"files":              {"Archived files.", 1},
		"files_left":         {"Archived files that are still in their bucket.", 0},
		"signature_requests": {"Rows of lumin.signature_requests.", 1},
		"erased_by":          {"Who ordered it.", "privacy"},
		"ErasurePlan.events": {"Events, whose identity stays.", 3},
	}
}

func programProperties() map[string]property {
	return map[string]property{
		"keys":                   {"One object for each key of each source.", nil},
		"first_used_at":          {"When the first stored event with this key was received.", exampleTime},
		"last_used_at":           {"When the last stored event with this key was received.", exampleTime},
		"programs":               {"One object for each program.", nil},
		"Program.id":             {"Its id, made when it started.", "5f1b6c7d8e9f"},
		"host":                   {"The machine it runs on.", "ingest-1"},
		"pid":                    {"Its process id there.", 7},
		"role":                   {"all, ingest or worker.", "all"},
		"version":                {"The version of its build.", "v1.2.0"},
		"last_seen_at":           {"When it was last seen.", exampleTime},
		"other_kinds":            {"Its kinds of follow-up and periodic jobs.", []any{"send_copy"}},
		"stuck":                  {"Its queues that have no worker left.", []any{}},
		"connections":            {"The most connections to the database that it takes; 0 if unknown.", 31},
		"registered_job_types":   {"One object for each job type.", nil},
		"queue":                  {"The queue of its jobs.", "default"},
		"max_attempts":           {"The most attempts of a run; 0 if unknown.", 8},
		"when_failed":            {"What an ordered job type does after a failure: hold, skip or cancel. Empty: it is not ordered.", ""},
		"program_count":          {"How many running programs work it.", 1},
		"queued":                 {"How many wait for a free worker.", 0},
		"running":                {"How many are being worked.", 1},
		"retrying":               {"How many have failed and wait for another attempt.", 0},
		"parked":                 {"How many wait behind an earlier event of their signature request.", 0},
		"failed":                 {"How many have failed for good.", 3},
		"pending_since":          {"Since when the oldest of them has waited; null if none waits.", nil},
		"held_lanes":             {"One object for each job type whose failed runs hold lanes.", nil},
		"held":                   {"How many lanes are held.", 1},
		"HeldLanes.more":         {"Whether only 10,000 failed runs of the job type were looked at: more lanes may be held, and for longer.", false},
		"alerts":                 {"One object for each alert that holds, the newest first.", nil},
		"key":                    {"The condition and what it is about.", "silence/account"},
		"text":                   {"What is wrong, and what to do; of a resolved alert, what was wrong.", "source account has had no new event for 3d."},
		"page":                   {"The page of the dashboard about it, as a path; empty if none fits.", "/sources"},
		"seen_at":                {"When a program last found that it holds.", exampleTime},
		"sent_at":                {"When a message about it was last sent; null if none was.", exampleTime},
		"resolved_at":            {"When it was first found not to hold; null while it holds.", nil},
		"sending":                {"How the sending of alerts goes.", nil},
		"looked_at":              {"When a program last looked for something to send; null if none has.", exampleTime},
		"failures":               {"Messages that were not accepted since one was.", 0},
		"next_at":                {"When the next message is tried; null if none has failed.", nil},
		"AlertSending.error":     {"The error of the last message; empty if it was accepted.", ""},
		"configured_sources":     {"One object for each source.", nil},
		"last_verified_at":       {"When this program last verified a delivery of the source; null if it has not.", exampleTime},
		"mismatches_since":       {"How many signatures matched none of the keys since then.", 0},
		"key_ids":                {"Keys by their fingerprints.", []any{"3f9a1c2b77e05d14"}},
		"undecided_conflicts":    {"Conflicts that wait for a decision, counted up to 10,000.", 0},
		"Queue.waiting":          {"How many wait for their time, such as the next attempt.", 0},
		"from":                   {"When the first step begins.", exampleTime},
		"to":                     {"When the last step ends.", exampleTime},
		"step_seconds":           {"How long a step is.", 3600},
		"deliveries":             {"Deliveries by step and result.", nil},
		"answer_times":           {"How long verified deliveries waited for their answer, by step.", nil},
		"AttemptPoint.outcome":   {"How the attempts ended, as in the metric lumin_attempts_total.", "succeeded"},
		"DeliveryPoint.result":   {"What became of the deliveries, as in the metric lumin_deliveries_total.", "recorded"},
		"History.attempts":       {"Attempts by step, job type and outcome.", nil},
		"AttemptTotal.outcome":   {"How the attempts ended, as in the metric lumin_attempts_total.", "succeeded"},
		"DeliveryTotal.result":   {"What became of the deliveries, as in the metric lumin_deliveries_total.", "recorded"},
		"DeliveryTotal.reason":   {"The code of the response, if it was not 200; otherwise empty.", "signature_mismatch"},
		"DeliveryTotal.source":   {"A configured source, or unknown.", "account"},
		"delivery_totals":        {"Deliveries of the whole time by source, result and reason, the most frequent first.", nil},
		"attempt_totals":         {"Attempts of the whole time by job type and outcome.", nil},
		"work_times":             {"How long attempts took, by step.", nil},
		"backlog":                {"How long the oldest pending run had waited, by step: the highest age. Of all job types.", nil},
		"oldest_pending_seconds": {"The highest age of the oldest pending run; 0 if none was pending.", 1.5},
		"effect_times":           {"From the receipt of an event to its effect, by step.", nil},
		"mean_seconds":           {"The mean.", 0.012},
		"p50_seconds":            {"Half of them took at most this long.", 0.01},
		"p99_seconds":            {"99 of 100 took at most this long.", 0.05},
		"latest":                 {"Its latest state; null if the job type signature_request_state has not stored it.", nil},
		"Request.more":           {"Whether older events are left out.", false},
		"request_status":         {"Lumin's status of the signature request.", "WAITING_FOR_OTHERS"},
		"request_title":          {"Its title, with addresses masked.", "Lease"},
		"request_reason":         {"The reason of a rejection, with addresses masked.", nil},
		"updated_at":             {"When Lumin changed it last.", exampleTime},
		"expires_at":             {"When it expires.", exampleTime},
		"last_event_type":        {"The type of its last event.", "signature_request_signed"},
		"last_event_time":        {"When its last event happened.", exampleTime},
		"gone_at":                {"When a check found that Lumin no longer has it; null if none has.", nil},
		"queues":                 {"One object for each queue.", nil},
		"paused_at":              {"When it was paused; null if it is not.", nil},
		"changes":                {"One object for each change.", nil},
		"at":                     {"When it was ordered.", exampleTime},
		"actor":                  {"Who ordered it.", "ops"},
		"via":                    {"How it came: dashboard, api, command, sql, or worker for what a program recovers periodically.", "api"},
		"from_address":           {"The IP address it came from; empty if it came through the database.", "192.0.2.7"},
		"action":                 {"What was changed.", "replay"},
		"Change.subject":         {"What it was ordered for.", map[string]any{"job_kinds": []any{"issue_invoice"}}},
		"outcome":                {"done or failed; empty while it is in progress, or if it is unknown.", "done"},
		"result":                 {"What has changed.", map[string]any{"replay": 17}},

		"undecided_between_signers": {"Undecided conflicts between two signers: probably events without runs.", 0},
		"waiting_late_events":       {"Late events that wait for a decision, among the newest 5,000 late events.", 0},
		"unrecognized_last_hour":    {"Deliveries of the last hour without a usable identity, which no job type got.", 0},
	}
}

func problemProperties() map[string]property {
	return map[string]property{
		"type":           {"Always about:blank.", "about:blank"},
		"title":          {"The meaning of the status.", "Not Found"},
		"Problem.status": {"The status of HTTP.", 404},
		"code":           {"A name of the problem that does not change.", "no_such_record"},
		"detail":         {"What the problem is, for people.", "event 4711: not found"},
		"hint":           {"What to do about it.", "list the events to see their ids"},
		"Problem.errors": {"The invalid parts of the request.", nil},
		"location":       {"Where in the request it is.", "query.limit"},
		"message":        {"What is invalid about it.", "expected number <= 1000"},
	}
}
