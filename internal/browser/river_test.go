package browser_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"lumin-ingest/internal/pgtest"
)

// River UI shows another job without loading a page. The link from the job to its event
// follows.
func TestRiverLeadsBack(t *testing.T) {
	chromium(t)
	d := newDashboard(t)
	d.fill(3)
	p := open(t, "river", 1280, true, false)
	p.signIn(d)
	job := pgtest.Value[int64](t, d.pool, `SELECT j.id FROM lumin.river_job j WHERE j.state = 'discarded' ORDER BY j.id LIMIT 1`)
	const display = `getComputedStyle(document.getElementById("lumin-event")).display`
	p.do(chromedp.Navigate(d.url + "/river/jobs?state=discarded"))
	link := fmt.Sprintf(`document.querySelector('a[href$="/river/jobs/%d"]')`, job)
	p.until("River UI lists the job", fmt.Sprintf(`Boolean(%s)`, link))
	if shown := value[string](p, display); shown != "none" {
		t.Errorf("a list has a link to an event: display is %q", shown)
	}
	p.picture("jobs")
	value[bool](p, fmt.Sprintf(`(document.documentElement.dataset.same = "1", %s.click(), true)`, link))
	p.until("the job has a link to its event", display+fmt.Sprintf(` !== "none" && location.pathname === "/river/jobs/%d"`, job))
	if !value[bool](p, `document.documentElement.dataset.same === "1"`) {
		t.Error("River UI has loaded a page, so the test shows nothing about the script")
	}
	p.until("River UI shows the job", `document.body.innerText.includes("the ledger of 2026 is closed")`)
	p.picture("job")
	p.leaves(chromedp.Click(chromedp.CSS("#lumin-event")))
	p.sees("book_invoice", "the ledger of 2026 is closed")
}
