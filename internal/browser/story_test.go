package browser_test

import (
	"testing"

	"github.com/chromedp/chromedp"

	"lumin-ingest/internal/pgtest"
)

// A person signs in, finds a failed event by its signature request, reads the error,
// sees the plan, replays the event and watches it succeed.
func TestReplayOneEvent(t *testing.T) {
	for _, test := range []struct {
		name              string
		width             int
		scripts, keyboard bool
	}{
		{"pointer", 1280, true, false},
		{"no-scripts", 1280, false, false},
		{"phone", 375, true, false},
		{"keyboard", 1280, true, true},
		{"keyboard-no-scripts", 800, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			chromium(t)
			d := newDashboard(t)
			request := d.fill(3)
			p := open(t, test.name, test.width, test.scripts, test.keyboard)
			p.signIn(d)
			p.picture("overview")

			p.find(request)
			p.sees("What happened", "the ledger of 2026 is closed")
			p.fits()
			p.picture("request")
			p.follow("approved")

			p.sees("book_invoice", "failed", "the ledger of 2026 is closed", "a•••@example.com")
			p.fits()
			p.picture("event")
			d.fixed.Store(true)
			p.follow("Replay…")

			p.sees("What happens", "book_invoice")
			p.fits()
			p.picture("plan")
			p.types("Reason", "#reason", "the ledger is open again")
			p.follow("Replay 1 run")

			p.picture("ordered")
			p.find(request)
			p.follow("approved")
			p.sees("Attempt 1 is running")
			p.picture("running")
			p.stays(func() {
				close(d.goOn)
				p.sees("Succeeded in attempt 1")
			})
			p.picture("succeeded")
			if n := pgtest.Value[int](t, d.pool, `SELECT count(*)::int FROM lumin.audit_log WHERE action = 'replay' AND actor = 'ann' AND reason = 'the ledger is open again'`); n != 1 {
				t.Errorf("the audit log has %d rows of the replay", n)
			}
		})
	}
}

// signIn opens the dashboard and enters the token.
func (p *person) signIn(d *dashboard) {
	p.Helper()
	p.do(chromedp.Navigate(d.url))
	p.picture("sign-in")
	p.do(chromedp.SendKeys(chromedp.CSS(`input[name=token]`), d.token))
	p.leaves(chromedp.KeyEvent(enter))
	p.sees("Overview")
}

// find searches for an id in the bar.
func (p *person) find(id string) {
	p.Helper()
	if p.keyboard {
		p.tabTo("Find")
		p.do(chromedp.KeyEvent(id))
	} else {
		p.do(chromedp.SendKeys(chromedp.CSS(`input[type=search]`), id))
	}
	p.leaves(chromedp.KeyEvent(enter))
}
