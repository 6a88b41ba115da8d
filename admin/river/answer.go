package river

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"lumin-ingest/admin/assets"
)

// answer holds an answer of River UI, so that it can be changed.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.status = cmp.Or(a.status, http.StatusOK)
	return a.body.Write(p)
}

// serveChanged answers a request for reading with a changed body.
func (u *UI) serveChanged(w http.ResponseWriter, r *http.Request, change func(*answer) ([]byte, error)) error {
	r = r.Clone(r.Context())
	r.Header.Del("Range") // a part of the body could not be changed
	a := &answer{header: w.Header()}
	u.handler.ServeHTTP(a, r)
	body, err := change(a)
	if err != nil {
		return err
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(cmp.Or(a.status, http.StatusOK))
	_, _ = w.Write(body) // fails only if the caller has disconnected
	return nil
}

// jobPath matches the page of a job.
var jobPath = regexp.MustCompile(`^/river/jobs/([0-9]+)$`)

// withWayBack adds to a page the links to the dashboard and to the event of a job, or to
// the page of a job without one. A script changes the second one when another job is
// shown.
func withWayBack(path string, a *answer) ([]byte, error) {
	if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || a.body.Len() == 0 {
		return a.body.Bytes(), nil
	}
	event := `hidden href="/"`
	if job := jobPath.FindStringSubmatch(path); job != nil {
		event = `href="/jobs/` + job[1] + `"`
	}
	page := a.body.String()
	for mark, added := range map[string]string{
		"</head>": fmt.Sprintf(`<link rel="stylesheet" href="%s"><script type="module" src="%s"></script>`, assets.Path("river.css"), assets.Path("river.js")),
		"</body>": `<nav id="lumin" aria-label="lumin-ingest"><a href="/">Dashboard</a><a id="lumin-event" ` + event + `>Event or arguments of this job</a></nav>`,
	} {
		if !strings.Contains(page, mark) {
			return nil, fmt.Errorf("the page of River UI has no %s", mark)
		}
		page = strings.Replace(page, mark, added+mark, 1)
	}
	return []byte(page), nil
}

// withoutArgs hides the metadata of jobs, and arguments that hold more than ids. Those
// of follow-up jobs may hold personal data. River UI asks for a job every few seconds,
// so it is no place where a person asks once to see them: a page of the dashboard is.
func withoutArgs(a *answer) ([]byte, error) {
	if a.status != http.StatusOK {
		return a.body.Bytes(), nil
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(a.body.Bytes(), &body); err != nil {
		return nil, fmt.Errorf("read an answer of River UI: %w", err)
	}
	jobs, isList := body["data"]
	if !isList {
		return json.Marshal(hide(body))
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(jobs, &list); err != nil {
		return nil, fmt.Errorf("read jobs of River UI: %w", err)
	}
	for _, job := range list {
		hide(job)
	}
	return json.Marshal(map[string]any{"data": list})
}

// hidden stands for what is not shown.
const hidden = `{"hidden":"it may hold personal data: the page of a follow-up job in the dashboard can show it"}`

// hide replaces the arguments and the metadata of a job.
func hide(job map[string]json.RawMessage) map[string]json.RawMessage {
	var args string // it holds JSON
	if text, ok := job["args"]; ok && (json.Unmarshal(text, &args) != nil || !onlyIDs(args)) {
		job["args"] = json.RawMessage(strconv.Quote(hidden))
	}
	if metadata, ok := job["metadata"]; ok && string(metadata) != "{}" {
		job["metadata"] = json.RawMessage(hidden)
	}
	return job
}

// These match the arguments that the job of a run has.
var (
	keyArg    = regexp.MustCompile(`^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$`)
	numberArg = regexp.MustCompile(`^[0-9]{1,19}$`)
)

// onlyIDs reports whether arguments hold nothing but what those of a run do. The kind of
// a job does not tell: a follow-up job may have any.
func onlyIDs(args string) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(args), &members) != nil {
		return false
	}
	for name, value := range members {
		if !(name == "event_key" && keyArg.Match(value) || name == "replay_id" && numberArg.Match(value)) {
			return false
		}
	}
	return true
}
