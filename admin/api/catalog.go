package api

import (
	"context"
	"net/http"
	"time"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/operate"
)

const programsTag, auditTag = "Programs, job types and queues", "Audit log"

// KeyList is a list of keys.
type KeyList struct {
	Keys []window.KeyUse `json:"keys"`
}

// ProgramList is a list of running programs.
type ProgramList struct {
	Programs []window.Program `json:"programs"`
}

// JobTypeList is a list of job types.
type JobTypeList struct {
	JobTypes []window.JobType `json:"registered_job_types"`
}

// QueueList is a list of queues.
type QueueList struct {
	Queues []window.Queue `json:"queues"`
}

// QueueRequest names a queue.
type QueueRequest struct {
	Queue  string `json:"queue" maxLength:"64"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// SourceUse is a source that this program receives, and what it knows about it.
type SourceUse struct {
	Source          string     `json:"source"`
	LastVerified    *time.Time `json:"last_verified_at"`
	MismatchesSince int64      `json:"mismatches_since"`
	KeyIDs          []string   `json:"key_ids"`
}

// SourceList is a list of sources.
type SourceList struct {
	Sources []SourceUse `json:"configured_sources"`
}

// AuditPage is a page of the audit log.
type AuditPage struct {
	Changes []operate.Row `json:"changes"`
	Next    *string       `json:"next"`
}

// AuditQuery chooses changes.
type AuditQuery struct {
	Actor  string    `query:"actor" maxLength:"200" doc:"Only changes by this person."`
	Action string    `query:"action" maxLength:"100" doc:"Only this kind of change, such as replay."`
	Via    string    `query:"via" enum:",dashboard,api,command,sql,worker" doc:"Only changes that came this way."`
	Failed bool      `query:"failed" doc:"Only changes that failed."`
	Since  time.Time `query:"since" doc:"Only changes at this time or later."`
	Until  time.Time `query:"until" doc:"Only changes before this time."`
}

func (a *api) catalog() {
	add(a, operation{
		id: "list-keys", method: http.MethodGet, path: "/keys", tag: programsTag, role: access.Read,
		summary: "List keys", description: "Lists the keys that the stored events were signed with, by their fingerprints, and when each was used first and last.",
	}, func(ctx context.Context, _ *struct{}) (KeyList, error) {
		keys, err := a.window.Keys(ctx)
		return KeyList{keys}, err
	})
	add(a, operation{
		id: "list-programs", method: http.MethodGet, path: "/programs", tag: programsTag, role: access.Read,
		summary: "List running programs", description: "Lists the programs that receive or work on this database, the oldest first.",
	}, func(ctx context.Context, _ *struct{}) (ProgramList, error) {
		programs, err := a.window.Programs(ctx)
		return ProgramList{programs}, err
	})
	add(a, operation{
		id: "list-job-types", method: http.MethodGet, path: "/job-types", tag: programsTag, role: access.Read,
		summary: "List job types", description: "Lists the job types that some program has registered.",
	}, func(ctx context.Context, _ *struct{}) (JobTypeList, error) {
		types, err := a.window.JobTypes(ctx)
		return JobTypeList{types}, err
	})
	add(a, operation{
		id: "list-queues", method: http.MethodGet, path: "/queues", tag: programsTag, role: access.Read,
		summary: "List queues", description: "Lists the queues that programs have used, and which of them are paused.",
	}, func(ctx context.Context, _ *struct{}) (QueueList, error) {
		queues, err := a.window.Queues(ctx)
		return QueueList{queues}, err
	})
	order(a, operation{
		id: "pause-queue", method: http.MethodPost, path: "/queues/pause", tag: programsTag, role: access.Operate,
		summary: "Pause a queue", description: "Makes all programs take no further jobs from a queue. Jobs that are running go on. The queues of the program's own jobs cannot be paused.", errors: []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, w *window.Window, _ string, in QueueRequest) (Done, error) {
		return Done{true}, w.PauseQueue(ctx, in.Queue, in.Reason)
	})
	order(a, operation{
		id: "resume-queue", method: http.MethodPost, path: "/queues/resume", tag: programsTag, role: access.Operate,
		summary: "Resume a queue", description: "Ends a pause.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, w *window.Window, _ string, in QueueRequest) (Done, error) {
		return Done{true}, w.ResumeQueue(ctx, in.Queue, in.Reason)
	})
	add(a, operation{
		id: "list-changes", method: http.MethodGet, path: "/audit-log", tag: auditTag, role: access.Read,
		summary: "List changes", description: "Lists what people changed, and which personal data they asked to see, the newest first.",
	}, a.auditLog)
}

func (a *api) sourcesAndAlerts() {
	add(a, operation{
		id: "list-sources", method: http.MethodGet, path: "/sources", tag: programsTag, role: access.Read,
		summary: "List configured sources", description: "Lists the sources that this program receives: the keys of each, when it last verified a delivery, and how many signatures matched none of the keys since. Other programs of the database are not asked.",
	}, func(context.Context, *struct{}) (l SourceList, err error) {
		if a.sources != nil {
			l.Sources = a.sources()
		}
		return l, nil
	})
	add(a, operation{
		id: "list-alerts", method: http.MethodGet, path: "/alerts", tag: programsTag, role: access.Read,
		summary: "List alerts", description: "Lists the alerts that hold, and those that were resolved recently, the newest first, and how their sending goes. Alerts are kept for seven days after they were resolved.",
	}, func(ctx context.Context, in *struct {
		Resolved int `query:"resolved_within_seconds" minimum:"0" maximum:"604800" doc:"Also alerts that were resolved within this time."`
	}) (window.Alerts, error) {
		return a.window.Alerts(ctx, time.Duration(in.Resolved)*time.Second)
	})
}

func (a *api) auditLog(ctx context.Context, in *struct {
	AuditQuery
	Page
}) (p AuditPage, err error) {
	list := listOf("list-changes", in.AuditQuery)
	from, err := parseCursor(list, in.Cursor)
	if err != nil {
		return p, err
	}
	p.Changes, err = a.window.AuditLog(ctx, operate.Filter{
		Actor: in.Actor, Action: in.Action, Via: in.Via, Failed: in.Failed,
		Since: timeOf(in.Since), Until: timeOf(in.Until), Before: from.ID, Limit: in.Limit,
	})
	if n := len(p.Changes); n == in.Limit {
		next := cursor{List: list, ID: p.Changes[n-1].ID}.String()
		p.Next = &next
	}
	return p, err
}
