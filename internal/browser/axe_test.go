package browser_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// axe-core finds nothing on any page, in light and dark, wide and on a phone, and no
// page scrolls sideways.
func TestAccessibility(t *testing.T) {
	chromium(t)
	file := os.Getenv("LUMIN_TEST_AXE")
	if file == "" {
		t.Skip("NO PAGE WAS CHECKED: LUMIN_TEST_AXE does not name axe.min.js; make test-browser gets it with npm")
	}
	axe, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := newDashboard(t)
	request := d.fill(3)
	d.waiting()
	d.hostile(request)
	paths := d.paths(request)
	for _, width := range []int{1280, 375} {
		for _, theme := range []string{"light", "dark"} {
			t.Run(fmt.Sprintf("%s %d", theme, width), func(t *testing.T) {
				p := open(t, fmt.Sprintf("%s-%d", theme, width), width, true, false)
				features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}
				if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features}); err != nil {
					t.Fatal(err)
				}
				p.refused(d, string(axe))
				p.signIn(d)
				p.do(chromedp.Navigate(d.url + d.slowReplay()))
				p.sees("Cancel the replay")
				p.examine("cancel-replay", string(axe))
				for _, name := range slices.Sorted(maps.Keys(paths)) {
					p.do(chromedp.Navigate(d.url + paths[name]))
					p.examine(name, string(axe))
					if name == "sources" {
						p.sees(lumin.KeyID(sample.AccountKey), "signed last", "2 deliveries since then had a signature that none of the keys explains")
					}
				}
				p.do(chromedp.Navigate(d.url + "/api/v1")) // too long for a picture
				p.fits()
				p.check("api", string(axe))
				for _, name := range []string{"event", "request"} {
					p.do(chromedp.Navigate(d.url + paths[name]))
					p.follow("Show personal data")
					p.sees("Hide personal data")
					p.examine(name+"-revealed", string(axe))
				}
			})
		}
	}
}

// refused examines the pages for those who are not signed in, and for another host
// name.
func (p *person) refused(d *dashboard, axe string) {
	p.Helper()
	p.do(chromedp.Navigate(strings.Replace(d.url, "127.0.0.1", "localhost", 1)))
	p.sees("This name is not allowed")
	p.examine("refusal", axe)
	p.do(chromedp.Navigate(d.url))
	p.examine("sign-in", axe)
	p.do(chromedp.SendKeys(chromedp.CSS(`input[name=token]`), "wrong"))
	p.leaves(chromedp.KeyEvent(enter))
	p.sees("This token is not valid")
	p.examine("wrong-token", axe)
}

// examine checks the page that is shown, and takes a picture of it.
func (p *person) examine(name, axe string) {
	p.Helper()
	p.fits()
	p.picture(name)
	p.check(name, axe)
}

// check runs axe-core on the page.
func (p *person) check(name, axe string) {
	p.Helper()
	value[int](p, axe+"; 0")
	found := value[[]string](p, `axe.run(document, { resultTypes: ["violations"] }).then((r) =>
		r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.html.slice(0, 200) + " | " + n.failureSummary.slice(0, 300))))`)
	for _, violation := range found {
		p.Errorf("%s: %s", name, violation)
	}
}

// hostile adds events with texts that try to break pages, a conflict, an unrecognized
// event, a replay, deliveries that are signed with an unknown key, failed follow-up
// jobs, and an alert.
func (d *dashboard) hostile(request string) {
	d.Helper()
	body := string(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: request}.Body())
	d.deliver([]byte(body), 1)
	for _, title := range []string{`<script>document.title='x'</script>`, "\u202eright to left", "שלום עולם", strings.Repeat("10 kB ", 1700)} {
		quoted := strings.NewReplacer(`"`, `\"`).Replace(title)
		d.deliver([]byte(strings.Replace(body, "Sample agreement", quoted, 1)), 1)
	}
	d.deliver([]byte(`{"unknown":"<img src=x onerror=alert(1)>"}`), 1)
	pgtest.Exec(d, d.pool, `SELECT lumin.replay(job_kinds => '{note_event}', status => 'succeeded', event_ids => '{1}', reason => '<b>why</b>')`)
	d.deliver(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: strings.Repeat("0123456789abcdef", 16)}.Body(), 1)
	d.send([]byte(body), "another key", http.StatusUnauthorized)
	d.send([]byte(body), "another key", http.StatusUnauthorized)
	pgtest.Exec(d, d.pool, `INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ('send_copy', 'follow_up', 'mail')`)
	pgtest.Exec(d, d.pool, `
		INSERT INTO lumin.river_job (kind, args, max_attempts, queue, state, attempt, finalized_at, errors)
		SELECT 'send_copy', '{}', 3, 'mail', 'discarded', 3, now(), ARRAY[jsonb_build_object('error', '<b>the mail server</b> answered 500')] FROM generate_series(1, 2)`)
	pgtest.Exec(d, d.pool, `
		INSERT INTO lumin.alerts (key, condition, text, page)
		VALUES ('silence/app:crm', 'silence', 'source app:crm has had no new event for 3d. Check the webhook at Lumin.', '/sources')`)
}
