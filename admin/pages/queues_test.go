package pages_test

import (
	"net/url"
	"testing"
)

// A queue is paused and resumed.
func TestPauseQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	r.exec(`INSERT INTO lumin.river_queue (name, updated_at) VALUES ('default', now())`)
	r.record(delivery(1, "a", "book"))
	form := r.get(r.get("/queues").want(200, "open").link("Pause queue default")).want(200, "Pause queue default", "1 job").fields("/queues/default")
	r.post("/queues/default", form).want(400, "This needs a reason")
	form.Set("reason", "maintenance")
	r.post("/queues/default", form).follow().want(200, "paused")
	r.wantLog("ann dashboard pause_queue maintenance done")
	r.get("/").want(200, "Queue default is paused", "1 job waits in it")
	r.post("/queues/default", r.get("/queues/default").want(200, "Resume the queue").fields("/queues/default")).follow().want(200, "open")
	r.wantLog("ann dashboard resume_queue  done")
	r.get("/queues/nothing").want(404)
	r.post("/queues/default", url.Values{"do": {"drop"}}).want(400)
}

// internalQueues are the queues of the program's own jobs, and what runs in them.
func internalQueues() map[string]string {
	return map[string]string{"lumin": "replays and the jobs that wake lanes", "lumin_periodic": "retention, erasures, the sweep and periodic jobs"}
}

func TestInternalQueuesAreNotPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO lumin.river_queue (name, updated_at) VALUES ('lumin', now()), ('lumin_periodic', now())`)
	list := r.get("/queues").want(200, "open").not("Pause…", "Resume…")
	for queue, work := range internalQueues() {
		list.want(200, "the program's own jobs: "+work)
		refusal := "Queue " + queue + " cannot be paused: " + work + " run in it."
		r.get("/queues/"+queue).want(200, refusal).not("Jobs that are running go on")
		r.post("/queues/"+queue, url.Values{"do": {"pause"}, "reason": {"maintenance"}}).want(409, "Not paused", refusal)
	}
	r.wantLog("")
}

// A version before this one paused these queues.
func TestInternalQueuesAreResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO lumin.river_queue (name, updated_at, paused_at) VALUES ('lumin', now(), now()), ('lumin_periodic', now(), now())`)
	for queue := range internalQueues() {
		form := r.get(r.get("/queues").link("Resume queue "+queue)).want(200, "Resume the queue").fields("/queues/" + queue)
		r.post("/queues/"+queue, form).follow().want(200, "open")
	}
	r.get("/queues").want(200, "open").not("paused", "Resume…")
}

func TestJobTypes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(true, "book")
	r.record(delivery(1, "a", "book"), delivery(2, "b", "book"))
	r.fail("book", "timeout")
	r.get("/job-types").want(200, "book", "ordered, hold when failed", "all events", "none")
	r.get("/plan?do=replay&status=missing&kind=book").want(200, "No run is missing")
}

// A program that only receives is not in the list of those that work jobs.
func TestWorkingPrograms(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'receiver', 1, 'ingest', '{}')`)
	r.get("/queues").want(200, "No program works jobs.").not("receiver")
	r = newRig(t)
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'receiver', 1, 'ingest', '{}'), (gen_random_uuid(), 'laborer', 2, 'worker', '{book}')`)
	r.get("/queues").want(200, "laborer", "book").not("receiver", "No program works jobs.")
}
