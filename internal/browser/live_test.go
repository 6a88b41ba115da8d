package browser_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
)

// attempted delivers an event whose run has panicked and waits for its next attempt. It
// returns the id of the event. River stores the stack of a panic only if the panic
// reaches it, so the stack is added here.
func (d *dashboard) attempted() (event int64) {
	d.Helper()
	d.deliver(sample.Delivery{EventType: lumin.SignatureRequestCanceled}.Body(), 1)
	wait.Until(d, "an attempt has panicked", func() bool {
		return pgtest.Value[bool](d, d.pool, `SELECT count(*) > 0 FROM lumin.river_job WHERE kind = 'call_crm' AND state = 'retryable'`)
	})
	pgtest.Exec(d, d.pool, `UPDATE lumin.river_job SET errors[1] = errors[1] || '{"trace": "goroutine 1 [running]:\nmain.main()"}' WHERE kind = 'call_crm'`)
	return pgtest.Value[int64](d, d.pool, `SELECT max(event_id) FROM lumin.runs WHERE job_kind = 'call_crm'`)
}

// News of an event appear in its page. What a person has opened, focused or selected
// meanwhile stays so.
func TestRefreshKeepsWhatIsInUse(t *testing.T) {
	chromium(t)
	d := newDashboard(t)
	event := d.attempted()
	p := open(t, "live", 1280, true, false)
	p.signIn(d)
	p.do(chromedp.Navigate(fmt.Sprintf("%s/events/%d", d.url, event)))
	p.sees("the answer of the CRM has no customer")
	p.do(chromedp.Click(chromedp.CSS("#runs summary")))
	value[string](p, `document.querySelector("#runs .actions a").focus(), getSelection().selectAllChildren(document.querySelector("#runs .error")), ""`)
	const state = `[document.querySelectorAll("#runs details[open]").length, document.activeElement.getAttribute("href"), getSelection().toString()].join(" | ")`
	before := value[string](p, state)
	if !strings.HasPrefix(before, "1 | /") || !strings.Contains(before, "has no customer") {
		t.Fatalf("before: %s", before)
	}
	p.stays(func() {
		pgtest.Exec(t, d.pool, `UPDATE lumin.river_job SET state = 'available', scheduled_at = now() WHERE kind = 'call_crm'`)
		p.sees("Attempt 2 failed")
	})
	if after := value[string](p, state); after != before {
		t.Errorf("after a refresh: %s\nbefore: %s", after, before)
	}
	p.picture("open")
	if open := value[string](p, `document.querySelector("#runs details[open]").parentElement.innerText`); !strings.Contains(open, "Attempt 1 failed") {
		t.Errorf("this is open: %s", open)
	}
}

// New rows do not move the focus away from the row that has it, and a choice that was
// not sent yet is kept.
func TestRefreshOfLists(t *testing.T) {
	chromium(t)
	d := newDashboard(t)
	d.fill(1)
	p := open(t, "lists", 1280, true, false)
	p.signIn(d)
	p.do(chromedp.Navigate(d.url + "/events"))
	p.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"))
	const focused = `document.activeElement.getAttribute("href")`
	links := value[[]string](p, `[...document.querySelectorAll("tbody tr > :first-child a")].map((a) => a.getAttribute("href"))`)
	if got := value[string](p, focused); got != links[1] {
		t.Fatalf("j leads to %s, not to %s", got, links[1])
	}
	p.stays(func() {
		d.deliver(sample.Delivery{EventType: lumin.SignatureRequestViewed}.Body(), 1)
		p.until("a row is added", fmt.Sprintf(`document.querySelectorAll("tbody tr").length === %d`, len(links)+1))
	})
	if got := value[string](p, focused); got != links[1] {
		t.Errorf("after a refresh, the focus is on %s, not on %s", got, links[1])
	}
	p.do(chromedp.KeyEvent("j"))
	if got := value[string](p, focused); got != links[2] {
		t.Errorf("then j leads to %s, not to %s", got, links[2])
	}

	p.do(chromedp.Navigate(d.url + "/failures"))
	value[string](p, `document.querySelector("#kind").value = "book_invoice"`)
	p.stays(func() {
		d.deliver(sample.Delivery{EventType: lumin.SignatureRequestApproved}.Body(), 1)
		p.until("the group has two runs", `document.querySelector("tbody .number").innerText.trim() === "2"`)
	})
	if got := value[string](p, `document.querySelector("#kind").value`); got != "book_invoice" {
		t.Errorf("after a refresh, the filter is %q", got)
	}
}

// A page that shows personal data is not refreshed, and the theme leads to the page
// that hides it.
func TestRevealedPage(t *testing.T) {
	chromium(t)
	d := newDashboard(t)
	request := d.fill(1)
	p := open(t, "revealed", 1280, true, false)
	p.signIn(d)
	for _, path := range []string{"/events/1", "/requests/" + request} {
		p.do(chromedp.Navigate(d.url + path))
		p.follow("Show personal data")
		p.sees("Hide personal data")
		if live := value[int](p, `document.querySelectorAll("[data-live]").length`); live != 0 {
			t.Errorf("%s has %d regions that are refreshed, and GET does not answer its address", path, live)
		}
		p.leaves(chromedp.Click(chromedp.CSS(`button[name=theme][value=dark]`)))
		p.sees("Show personal data")
		if got := value[string](p, `location.pathname`); got != path {
			t.Errorf("the theme leads to %s, not to %s", got, path)
		}
	}
}
