package pages_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Text from outside stays text: whatever stands in titles, ids, names, errors and
// addresses, a page has no element and no attribute that it would not have otherwise,
// and its links stay on this listener.
func FuzzPages(f *testing.F) {
	for _, text := range []string{
		"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, "javascript:alert(1)", `/\evil.example`,
		"\u202egnp.exe\u2066</title></textarea><svg/onload=alert(1)>", "{{.}}--><script>]]>&lt;b&gt;&#60;", "../../river?x=1#y%3Cscript%3E",
		strings.Repeat("<b>x", 2500),
	} {
		f.Add(text)
	}
	base := newRig(f)
	base.register(true, "book")
	for n := range 120 { // so that lists have a next page
		base.record(delivery(n, "plain", "book"))
	}
	h := &hostilePages{known: map[string]bool{}}
	for _, text := range []string{"plain text", "1", "/lanes", "book", "failed", ""} { // the last few lead to plans and lists with rows
		for _, p := range h.visit(base, text) {
			p.eachTag(func(name string, attributes []html.Attribute) {
				for _, shape := range shapes(name, attributes) {
					h.known[shape] = true
				}
			})
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := &rig{TB: t, store: base.store, admin: base.admin, echo: base.echo, caller: base.caller}
		for _, p := range h.visit(r, text) {
			p.eachTag(func(name string, attributes []html.Attribute) {
				for _, shape := range shapes(name, attributes) {
					if !h.known[shape] {
						t.Errorf("%s has %s", p.path, shape)
					}
				}
				for _, a := range attributes {
					checkAddress(t, p, name, a)
				}
			})
		}
	})
}

// hostilePages visits pages with texts from outside.
type hostilePages struct {
	known    map[string]bool // the elements and attributes that pages have
	recorded atomic.Int64
}

// visit stores a text wherever one from outside is stored, and puts it into every
// parameter. It returns the pages.
func (h *hostilePages) visit(r *rig, text string) (visited []*page) {
	r.Helper()
	event, bare := h.store(r, text)
	query := func(path string, names ...string) string {
		values := url.Values{}
		for _, name := range names {
			values.Set(name, text)
		}
		return path + "?" + values.Encode()
	}
	segment := url.PathEscape(text)
	for _, path := range []string{
		"/", query("/", "range"), "/events", query("/events", "id"), query("/events", "kind", "type", "source", "request", "error", "since", "state"), query("/events", "request"),
		event, bare, query("/failures", "kind"), "/failures", "/failures?state=dismissed", query("/failures", "state"),
		query("/plan?do=replay&status=failed", "kind"), query("/plan", "do", "status", "kind", "error", "type", "source", "request", "back"),
		"/plan?do=dismiss&status=failed&error=" + url.QueryEscape(text) + "&back=" + url.QueryEscape(text),
		query("/lanes", "kind", "held"), "/lanes", query("/lanes/skip", "kind", "request", "head"), "/queues", "/queues/" + segment, "/job-types",
		"/replays", query("/replays/1", "back"), "/replays/" + segment, "/follow-ups/retry?all=1", query("/follow-ups/retry", "kind"), query("/follow-ups/retry", "job"),
		"/requests/" + segment, "/events/" + segment, "/jobs/" + segment, query("/find", "q"), "/conflicts", query("/conflicts", "source", "before"), "/unrecognized",
		"/sources", "/programs", "/audit", query("/audit", "actor", "action", "via", "before"), query("/theme", "theme", "back"), "/nowhere/" + segment,
	} {
		visited = append(visited, h.get(r, path, text)...)
	}
	return visited
}

// get gets a page as a caller whose name and cookies hold the text, and the page that
// it leads to.
func (h *hostilePages) get(r *rig, path, text string) (pages []*page) {
	r.Helper()
	caller := r.caller
	defer func() { r.caller = caller }()
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://localhost"+strings.Replace(path, "?do=replay&status=failed?", "?do=replay&status=failed&", 1), nil)
	if err != nil {
		r.Fatal(err)
	}
	r.caller.Name = text
	request.AddCookie(&http.Cookie{Name: "lumin_done", Value: url.QueryEscape(text)})
	response := httptest.NewRecorder()
	r.echo.ServeHTTP(response, request)
	p := &page{rig: r, path: path, status: response.Code, header: response.Header(), body: response.Body.String()}
	switch p.status {
	case http.StatusOK, http.StatusBadRequest, http.StatusNotFound:
		p.check()
		return []*page{p}
	case http.StatusSeeOther:
		if to := p.header.Get("Location"); !local(to) {
			r.Errorf("%s leads to %q", path, to)
		}
		return nil
	}
	r.Errorf("%s: status %d", path, p.status)
	return nil
}

// store records deliveries and failures with the text, and returns the pages of two
// events.
func (h *hostilePages) store(r *rig, text string) (event, bare string) {
	r.Helper()
	column := strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd") // as PostgreSQL can hold it
	id := column[:min(len(column), 500)]
	id = strings.ToValidUTF8(id, "")
	at := time.UnixMilli(1694664207595 + h.recorded.Add(1)).UTC()
	title, err := json.Marshal(text)
	if err != nil {
		r.Fatal(err)
	}
	d := store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.EventType("signature_request_" + id), EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":%[2]s,"event_metadata":{"signer_email":%[2]s}},"signature_request":{"signature_request_id":%[2]s,"title":%[2]s,`+
			`"details_url":%[2]s,"reason":%[2]s,%[2]s:%[2]s,"signers":[{"name":%[2]s,"email":%[2]s,"status":%[2]s,"group":%[2]s}]}}`, at.UnixMilli(), title),
		Signature: make([]byte, 32), KeyID: "0011223344556677", ReceivedAt: time.Now(),
		Jobs: []store.JobSpec{{Kind: "book", Queue: "default", MaxAttempts: 3, Priority: 1}},
	}
	again := d
	again.Payload = append([]byte(text), d.Payload...)
	unrecognized := store.Delivery{Source: "account", Payload: []byte(text + at.String()), Signature: make([]byte, 32), KeyID: "0011223344556677", ReceivedAt: time.Now()}
	r.record(d, again, unrecognized)
	r.fail("book", column)
	r.exec(`INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ($1, 'follow_up', $1) ON CONFLICT DO NOTHING`, "k"+id)
	r.exec(`INSERT INTO lumin.river_job (kind, args, max_attempts, queue, state, attempt, finalized_at, errors)
		VALUES (left($1, 100), '{}', 3, 'slow', 'discarded', 3, now(), ARRAY[jsonb_build_object('error', $2::text)])`, "k"+id, column)
	r.exec(`INSERT INTO lumin.river_queue (name, updated_at) VALUES (left($1, 100), now()) ON CONFLICT DO NOTHING`, "q"+id)
	r.exec(`INSERT INTO lumin.replays (ordered_by, reason, status, job_kinds) VALUES ($1, $1, 'failed', ARRAY[$1])`, column)
	r.exec(`INSERT INTO lumin.audit_log (actor, via, from_address, action, subject, reason) VALUES ($1, 'dashboard', $1, $1, jsonb_build_object($2::text, $2::text), $2)`, "a"+id, column)
	r.exec(`INSERT INTO lumin.alerts (key, condition, text, page) VALUES ($1, 'silence', $2, $2) ON CONFLICT DO NOTHING`, "silence/"+id, column)
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), $1, 1, 'all', ARRAY[$1])`, column)
	if r.value(`SELECT state::text FROM lumin.runs ORDER BY event_id DESC LIMIT 1`) == "failed" {
		r.exec(`UPDATE lumin.replays SET state = 'done', finished_at = now()`)
	}
	return "/events/" + r.value(`SELECT max(id)::text FROM lumin.events WHERE signature_request_id IS NOT NULL`), "/events/" + r.value(`SELECT max(id)::text FROM lumin.events WHERE signature_request_id IS NULL`)
}

// eachTag calls do for each start tag.
func (p *page) eachTag(do func(name string, attributes []html.Attribute)) {
	tokens := html.NewTokenizer(strings.NewReader(p.body))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			do(token.Data, token.Attr)
		}
	}
}

// shapes are an element, and the element with each of its attributes.
func shapes(name string, attributes []html.Attribute) []string {
	all := []string{"<" + name + ">"}
	for _, a := range attributes {
		all = append(all, "<"+name+" "+a.Key+">")
	}
	return all
}

func checkAddress(t *testing.T, p *page, name string, a html.Attribute) {
	t.Helper()
	switch a.Key {
	case "href", "src", "action", "formaction", "data-live-from", "poster", "srcset", "ping":
		if !local(a.Val) && !strings.HasPrefix(a.Val, "#") {
			t.Errorf("%s: <%s %s=%q>", p.path, name, a.Key, a.Val)
		}
	}
}

// local reports whether an address is a path of this listener.
func local(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//") && u.Host == "" && u.Scheme == "" && !strings.ContainsAny(address, "\\\r\n\t\x00")
}
