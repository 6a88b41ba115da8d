package pages_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/net/html"

	"lumin-ingest/admin/pages"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

// rig is a dashboard on a database of its own.
type rig struct {
	testing.TB
	store  *store.Store // with the rights of the owner
	admin  *store.Store // of the dashboard, with the rights of lumin_admin and no others
	echo   *echo.Echo
	caller pages.Caller
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	database := pgtest.New(tb)
	pgtest.UseRoles(tb, database)
	r := &rig{TB: tb, store: open(tb, database), admin: open(tb, pgtest.Login(tb, database, migrations.Admin)), echo: echo.New(), caller: pages.Caller{Name: "ann", MayOperate: true, MayErase: true}}
	r.echo.Logger.SetOutput(io.Discard)
	pages.New(r.config()).Register(r.echo.Group(""))
	return r
}

func open(tb testing.TB, database string) *store.Store {
	tb.Helper()
	st, err := store.New(pgtest.Pool(tb, database), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

// page is an answer.
type page struct {
	*rig
	path   string
	status int
	header http.Header
	body   string
	root   *html.Node
}

// get gets a page, and checks everything that holds for each page.
func (r *rig) get(path string) *page {
	r.Helper()
	return r.send(httptest.NewRequest(http.MethodGet, path, nil))
}

// post sends a form.
func (r *rig) post(path string, form url.Values) *page {
	r.Helper()
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r.send(request)
}

func (r *rig) send(request *http.Request) *page {
	r.Helper()
	response := httptest.NewRecorder()
	r.echo.ServeHTTP(response, request)
	p := &page{rig: r, path: request.URL.RequestURI(), status: response.Code, header: response.Header(), body: response.Body.String()}
	if strings.HasPrefix(response.Header().Get("Content-Type"), "text/html") {
		p.check()
	}
	return p
}

// want checks the status, and that the page shows each text.
func (p *page) want(status int, texts ...string) *page {
	p.Helper()
	if p.status != status {
		p.Errorf("%s: status %d, want %d\n%s", p.path, p.status, status, p.text())
	}
	shown := p.text()
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			p.Errorf("%s does not show %q:\n%s", p.path, text, shown)
		}
	}
	return p
}

// not checks that the page shows none of the texts.
func (p *page) not(texts ...string) *page {
	p.Helper()
	shown := p.text()
	for _, text := range texts {
		if strings.Contains(shown, text) {
			p.Errorf("%s shows %q:\n%s", p.path, text, shown)
		}
	}
	return p
}

// follow gets the page of the answer to a form.
func (p *page) follow() *page {
	p.Helper()
	if p.status != http.StatusSeeOther {
		p.Fatalf("%s: status %d, want 303\n%s", p.path, p.status, p.text())
	}
	return p.get(p.header.Get("Location"))
}

// text is what a reader sees in the page, with single spaces.
func (p *page) text() string {
	var out strings.Builder
	for n := range p.root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "title" {
			out.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// all returns the elements of a name.
func (p *page) all(name string) (found []*html.Node) {
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, n)
		}
	}
	return found
}

// fields returns the fields of the form with this path, as a browser would send
// them.
func (p *page) fields(action string) url.Values {
	p.Helper()
	for _, form := range p.all("form") {
		if attribute(form, "action") != action {
			continue
		}
		values := url.Values{}
		for n := range form.Descendants() {
			if n.Type == html.ElementNode && n.Data == "input" && attribute(n, "type") != "checkbox" && attribute(n, "type") != "radio" {
				values.Add(attribute(n, "name"), attribute(n, "value"))
			}
		}
		return values
	}
	p.Fatalf("%s has no form for %s", p.path, action)
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// delivery is a delivery of the signature request with this number.
func delivery(n int, title string, jobs ...string) store.Delivery {
	at := time.UnixMilli(1694664207595 + int64(n)).UTC()
	id := fmt.Sprintf("request-%d", n)
	d := store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed","event_metadata":{"signer_email":"ann@example.com"}},`+
			`"signature_request":{"signature_request_id":%q,"title":%q,"details_url":"https://example.com/?token=secret-token"}}`, at.UnixMilli(), id, title),
		Signature: make([]byte, 32), KeyID: "0011223344556677", ReceivedAt: time.Now(),
	}
	for _, kind := range jobs {
		d.Jobs = append(d.Jobs, store.JobSpec{Kind: kind, Queue: "default", MaxAttempts: 3, Priority: 1})
	}
	return d
}

// record records deliveries one after another.
func (r *rig) record(deliveries ...store.Delivery) {
	r.Helper()
	recorder := store.NewRecorder(r.store, slog.New(slog.DiscardHandler), nil)
	defer recorder.Close()
	for _, d := range deliveries {
		if _, err := recorder.Record(r.Context(), d); err != nil {
			r.Fatal(err)
		}
	}
}

// register registers job types. An ordered one holds its lanes.
func (r *rig) register(ordered bool, kinds ...string) {
	r.Helper()
	var types []catalog.JobType
	for _, kind := range kinds {
		t := catalog.JobType{Kind: kind, Queue: "default", Transactional: true}
		if ordered {
			t.WhenFailed = "hold"
		}
		types = append(types, t)
	}
	if _, err := catalog.AddJobTypes(r.Context(), r.store.Pool(), types); err != nil {
		r.Fatal(err)
	}
}

// fail makes every queued job of a job type fail for good with an error.
func (r *rig) fail(kind, text string) {
	r.Helper()
	r.exec(`
		UPDATE lumin.river_job SET state = 'discarded', attempt = 1, finalized_at = now(),
		    errors = ARRAY[jsonb_build_object('error', $2::text)]
		WHERE state = 'available' AND kind = $1`, kind, text)
}

func (r *rig) exec(sql string, args ...any) {
	r.Helper()
	pgtest.Exec(r, r.store.Pool(), sql, args...)
}
