//go:build unix

package app

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
)

const (
	outageRequests = 500
	outageKills    = 10
)

// outageRequest is a signature request that changed while nothing was received.
type outageRequest struct {
	id      string
	status  lumin.Status
	hasFile bool
	changed time.Time
}

// certain lists the events that must have happened to it.
func (r outageRequest) certain() []lumin.EventType {
	switch {
	case r.status == lumin.StatusApproved && r.hasFile:
		return []lumin.EventType{lumin.SignatureRequestApproved, lumin.SignatureRequestDownloadable}
	case r.status == lumin.StatusApproved:
		return []lumin.EventType{lumin.SignatureRequestApproved}
	case r.status == lumin.StatusRejected:
		return []lumin.EventType{lumin.SignatureRequestDeclined}
	case r.status == lumin.StatusCancelled:
		return []lumin.EventType{lumin.SignatureRequestCanceled}
	case r.status == lumin.StatusFailed:
		return []lumin.EventType{lumin.SignatureRequestInvalid}
	}
	return nil
}

// original is the delivery of an event of the outage. Its time is not that of the
// API's answer.
func (r outageRequest) original(t lumin.EventType) []byte {
	at := r.changed.Add(300 * time.Millisecond)
	if t == lumin.SignatureRequestDownloadable {
		at = at.Add(11 * time.Second)
	}
	return body(sample.Delivery{EventType: t, SignatureRequestID: r.id, At: at})
}

// outageLab is Lumin, the program and the command after three days without the
// program.
type outageLab struct {
	t       *testing.T
	url     string
	db      *pgx.Conn
	api     *luminapi.Server
	serve   *program
	senders sync.WaitGroup

	mu        sync.Mutex
	public    string
	delivered map[string]int // acknowledged deliveries, by signature request and type
	racing    map[string]lumin.EventType
	asked     map[string]int // requests for a state
}

// After an outage of three days, each job type has exactly one effect for each
// certain happening, and none for any other. Some events arrived before the
// outage, some originals arrive while recover runs or afterwards, and both the
// program and the command are killed.
func TestRecoverAfterOutage(t *testing.T) {
	t.Parallel()
	lab := newOutageLab(t)
	requests := lab.populate()
	lab.startServe()
	lab.before(requests)
	waitSettled(t, lab.db)

	args := []string{"recover", "--yes", "--rate", "100", "--ids-from", lab.writeIDs(requests)}
	stopLate := lab.deliverLate(requests)
	kills := 0
	for ; kills < outageKills; kills++ {
		if kills%4 == 3 {
			lab.serve.signal(syscall.SIGKILL)
			lab.serve.wait(10 * time.Second)
		}
		target := lab.requestsForState() + 5 + rand.IntN(40)
		p := startProgram(t, lab.env(), args...)
		eventually(t, 3*time.Minute, "the command has asked", func() bool { return lab.requestsForState() >= target })
		p.signal(syscall.SIGKILL)
		p.wait(10 * time.Second)
		if kills%4 == 3 {
			lab.startServe()
		}
	}
	last := startProgram(t, lab.env(), args...)
	if code := last.wait(5 * time.Minute); code != 0 {
		t.Fatalf("recover ended with %d:\n%s%s", code, last.stdout, last.stderr)
	}
	stopLate()
	if n := lab.requestsForState(); n > outageRequests+kills {
		t.Errorf("%d requests for a state of %d signature requests with %d kills", n, outageRequests, kills)
	}
	for _, r := range requests { // Lumin repeats some that were recovered
		if rand.IntN(5) == 0 {
			for _, event := range r.certain() {
				lab.deliver(r, event)
			}
		}
	}
	waitSettled(t, lab.db)
	lab.check(requests)
}

func newOutageLab(t *testing.T) *outageLab {
	t.Helper()
	url := newDatabase(t)
	lab := &outageLab{
		t: t, url: url, db: connect(t, url), api: luminapi.New(),
		delivered: map[string]int{}, racing: map[string]lumin.EventType{}, asked: map[string]int{},
	}
	t.Cleanup(lab.api.Close)
	t.Cleanup(lab.senders.Wait)
	return lab
}

func (l *outageLab) env() []string {
	return serveEnv(l.url, "LUMIN_API_URL="+l.api.URL(), "LUMIN_API_KEY="+luminapi.APIKey, "MAX_EVENT_AGE=0")
}

func (l *outageLab) startServe() {
	l.t.Helper()
	p := startProgram(l.t, l.env(), "serve")
	p.waitReady()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serve, l.public = p, p.public()
}

// populate makes signature requests of all states at Lumin, and watches the
// requests to the API.
func (l *outageLab) populate() (requests []outageRequest) {
	statuses := []lumin.Status{
		lumin.StatusApproved, lumin.StatusApproved, lumin.StatusApproved, lumin.StatusRejected, lumin.StatusCancelled,
		lumin.StatusFailed, lumin.StatusNeedToSign, lumin.StatusWaitingForOthers, lumin.StatusWaitingForProcessing,
	}
	for n := range outageRequests {
		r := outageRequest{
			id: fmt.Sprintf("%s-%03d", sample.RandomHex(6), n), status: statuses[n%len(statuses)], hasFile: n%len(statuses) < 2,
			changed: time.Now().Add(-32*time.Hour - time.Duration(rand.Int64N(int64(40*time.Hour)))).Truncate(time.Millisecond),
		}
		l.api.SetRequest(r.id, map[string]any{"status": string(r.status), "title": "Sample agreement", "updated_at": int(r.changed.UnixMilli())})
		if r.hasFile {
			l.api.SetFile(r.id, lumin.FileAgreement, luminapi.PDF(100))
		}
		requests = append(requests, r)
	}
	l.api.Each(l.answer(requests))
	return requests
}

var statePath = regexp.MustCompile(`/signature_request/([^/?]+)$`)

// answer counts the requests for a state. The original of some events is delivered
// at the same moment.
func (l *outageLab) answer(requests []outageRequest) luminapi.Fault {
	byID := map[string]outageRequest{}
	for _, r := range requests {
		byID[r.id] = r
	}
	return func(_ *luminapi.Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(w, r)
		match := statePath.FindStringSubmatch(r.URL.Path)
		if match == nil {
			return
		}
		l.mu.Lock()
		l.asked[match[1]]++
		event, race := l.racing[match[1]]
		delete(l.racing, match[1])
		l.mu.Unlock()
		if race {
			l.senders.Go(func() { l.deliver(byID[match[1]], event) })
		}
	}
}

func (l *outageLab) requestsForState() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.asked {
		n += times
	}
	return n
}

// before delivers what arrived before the outage: the creation of most, and a
// fifth of what was certain. A fifth of the rest will be delivered in the moment in
// which recover asks.
func (l *outageLab) before(requests []outageRequest) {
	for n, r := range requests {
		if n%5 > 0 {
			l.send(body(sample.Delivery{EventType: lumin.SignatureRequestCreated, SignatureRequestID: r.id, At: r.changed.Add(-time.Hour)}))
		}
		for _, event := range r.certain() {
			switch rand.IntN(5) {
			case 0:
				l.deliver(r, event)
			case 1:
				l.racing[r.id] = event
			}
		}
	}
}

// deliverLate delivers originals at random until the returned function is called.
func (l *outageLab) deliverLate(requests []outageRequest) (stop func()) {
	ended := make(chan struct{})
	l.senders.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-l.t.Context().Done(): // the test has failed
				return
			case <-time.After(20 * time.Millisecond):
			}
			r := requests[rand.IntN(len(requests))]
			if events := r.certain(); len(events) > 0 {
				l.deliver(r, events[rand.IntN(len(events))])
			}
		}
	})
	return func() {
		close(ended)
		l.senders.Wait()
	}
}

func (l *outageLab) deliver(r outageRequest, event lumin.EventType) {
	l.send(r.original(event))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivered[r.id+" "+string(event)]++
}

// send delivers a body until it is acknowledged, as Lumin does. The program may
// have been killed.
func (l *outageLab) send(content []byte) {
	acknowledged := func() bool {
		if l.t.Context().Err() != nil {
			return true // the test has failed
		}
		l.mu.Lock()
		public := l.public
		l.mu.Unlock()
		r, err := post(public+"/webhooks/account", content, lumin.Sign(content, accountKey))
		return err == nil && r.code == http.StatusOK
	}
	if !wait.For(time.Minute, acknowledged) {
		l.t.Error("a delivery was not acknowledged within a minute")
	}
}

// writeIDs writes the file that the user's own system would.
func (l *outageLab) writeIDs(requests []outageRequest) string {
	var text strings.Builder
	text.WriteString("# sent since the first of November\n")
	for _, r := range requests {
		text.WriteString(r.id + "\n")
	}
	name := filepath.Join(l.t.TempDir(), "ids.txt")
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return name
}

// ending are the types that end a signature request or follow from its end.
const ending = `('signature_request_approved', 'signature_request_declined', 'signature_request_canceled', 'signature_request_invalid', 'signature_request_downloadable')`

// check compares the database with what is certain.
func (l *outageLab) check(requests []outageRequest) {
	t := l.t
	t.Helper()
	events := 0
	for _, r := range requests {
		for _, event := range r.certain() {
			events++
			if n := number(t, l.db, `SELECT count(*) FROM lumin.events WHERE signature_request_id = $1 AND event_type = $2`, r.id, string(event)); n != 1 {
				t.Errorf("%s %s: %d events", r.id, event, n)
			}
		}
	}
	recovered := number(t, l.db, `SELECT count(*) FROM lumin.events WHERE source = 'recovered'`)
	t.Logf("%d certain happenings, %d of them recovered, %d originals of recovered events", events, recovered,
		number(t, l.db, `SELECT coalesce(sum(count), 0) FROM lumin.redeliveries WHERE differs = 'recovered'`))
	if recovered < events/4 { // which of the two is first depends on the speed of the machine
		t.Errorf("only %d of %d events were recovered", recovered, events)
	}
	wantNumber(t, l.db, events, `SELECT count(*) FROM lumin.events WHERE event_type IN `+ending)

	// Each event has one run for each of its job types, all have succeeded, and
	// each has one effect.
	runs := `SELECT count(*) FROM lumin.events e CROSS JOIN lumin.job_types j
		WHERE (j.events = '{}' OR e.event_type = ANY (j.events)) AND 1 <> (
			SELECT count(*) FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = j.kind AND r.state = 'succeeded')`
	wantNumber(t, l.db, 0, runs)
	wantNumber(t, l.db, number(t, l.db, `SELECT count(*) FROM lumin.runs WHERE job_kind IN ('count_effects', 'book_invoice')`), `SELECT count(*) FROM lumin_test.effects`)
	wantNumber(t, l.db, 0, `SELECT count(*) FROM (SELECT FROM lumin_test.effects GROUP BY event_key, job_kind HAVING count(*) > 1) twice`)
	wantNumber(t, l.db, number(t, l.db, `SELECT count(*) FROM lumin.signature_requests WHERE status = 'APPROVED'`),
		`SELECT count(*) FROM lumin_test.effects WHERE job_kind = 'book_invoice'`)

	// Each acknowledged delivery is an event or counts as a redelivery, and each
	// recovered event has its row in the audit log.
	for name, times := range l.delivered {
		id, event, _ := strings.Cut(name, " ")
		counted := number(t, l.db, `
			SELECT (SELECT count(*) FROM lumin.events WHERE signature_request_id = $1 AND event_type = $2 AND source <> 'recovered')
			     + (SELECT coalesce(sum(d.count), 0) FROM lumin.redeliveries d JOIN lumin.events e ON e.id = d.event_id
			        WHERE e.signature_request_id = $1 AND e.event_type = $2)`, id, event)
		if counted < times { // the answer to some was lost, and they were sent again
			t.Errorf("%s: %d deliveries are counted, %d were acknowledged", name, counted, times)
		}
	}
	wantNumber(t, l.db, recovered, `SELECT count(*) FROM lumin.audit_log a JOIN lumin.events e ON e.id = (a.subject->>'event')::bigint
		WHERE a.action = 'recover_event' AND e.source = 'recovered'`)
	wantNumber(t, l.db, recovered, `SELECT count(*) FROM lumin.audit_log WHERE action = 'recover_event'`)
}
