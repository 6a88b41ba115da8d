package browser_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// enter is the key.
const enter = "\r"

// person is someone at a browser.
type person struct {
	testing.TB
	ctx      context.Context //nolint:containedctx // chromedp keeps the browser in it
	name     string          // of the pictures
	shots    int
	keyboard bool // uses no pointer
	scripts  bool
}

// open starts a browser with a window of a width.
func open(tb testing.TB, name string, width int, scripts, keyboard bool) *person {
	tb.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(tb)), chromedp.NoSandbox, chromedp.WindowSize(width, 900),
		chromedp.Flag("hide-scrollbars", false), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	tb.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	tb.Cleanup(cancel)
	p := &person{TB: tb, ctx: ctx, name: name, keyboard: keyboard, scripts: scripts}
	// The first call starts the browser, which lives as long as its context.
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts})
	if err == nil {
		_, err = chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: int64(width), Height: 900, DeviceScaleFactor: 1, Mobile: width < 500})
	}
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// step is something that a person does.
type step = chromedp.Action[chromedp.Void]

func (p *person) do(steps ...step) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.picture("failed")
		p.Fatalf("%v\nthe page shows:\n%s", err, p.text())
	}
}

// value evaluates an expression in the page.
func value[T any](p *person, expression string) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.picture("failed")
		p.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// text is what the page shows.
func (p *person) text() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body?.innerText ?? ""`))
	if err != nil { // a page is leaving
		return ""
	}
	return text
}

// sees waits until the page shows a text. Without scripts a page does not change, so
// the person reloads it.
func (p *person) sees(texts ...string) {
	p.Helper()
	for _, text := range texts {
		deadline := time.Now().Add(40 * time.Second)
		for !strings.Contains(p.text(), text) {
			if time.Now().After(deadline) {
				p.picture("failed")
				p.Fatalf("the page does not show %q, but:\n%s", text, p.text())
			}
			if !p.scripts {
				p.do(chromedp.Reload())
			}
			p.do(chromedp.Sleep(100 * time.Millisecond)) // a browser has no event for it
		}
	}
}

// follow uses the first link or button in the main part with a text, and waits for
// the next page.
func (p *person) follow(text string) {
	p.Helper()
	if p.keyboard {
		p.tabTo(text)
		p.leaves(chromedp.KeyEvent(enter))
		return
	}
	found := value[bool](p, fmt.Sprintf(`(() => { const e = [...document.querySelectorAll("main a, main button")].find((e) => e.innerText.includes(%q) && e.offsetParent);
		document.querySelectorAll("[data-here]").forEach((e) => e.removeAttribute("data-here")); e?.setAttribute("data-here", ""); return Boolean(e) })()`, text))
	if !found {
		p.picture("failed")
		p.Fatalf("the page has no %q:\n%s", text, p.text())
	}
	p.leaves(chromedp.Click(chromedp.CSS("[data-here]")))
}

// leaves does something that leads to another page.
func (p *person) leaves(action step) {
	p.Helper()
	value[string](p, `document.documentElement.dataset.old = "1"`)
	p.do(action)
	p.until("another page has come", `document.readyState === "complete" && !document.documentElement.dataset.old`)
}

// stays does something during which a page with scripts must not be loaded again.
func (p *person) stays(act func()) {
	p.Helper()
	value[string](p, `document.documentElement.dataset.same = "1"`)
	act()
	if p.scripts && !value[bool](p, `document.documentElement.dataset.same === "1"`) {
		p.picture("failed")
		p.Error("the page was loaded again")
	}
}

func (p *person) until(what, condition string) {
	p.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		holds, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](condition))
		if err == nil && holds { // it fails while a page is leaving
			return
		}
		if time.Now().After(deadline) {
			p.picture("failed")
			p.Fatalf("did not happen: %s\nthe page shows:\n%s", what, p.text())
		}
		p.do(chromedp.Sleep(20 * time.Millisecond))
	}
}

// focused is the element that has the focus.
type focused struct {
	Text    string
	Visible bool
}

// tabTo presses Tab until an element with a text has the focus, which must be
// visible.
func (p *person) tabTo(text string) {
	p.Helper()
	for range 200 {
		p.do(chromedp.KeyEvent("\t"))
		found := value[focused](p, `(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
			return { Text: (e.innerText || e.getAttribute("aria-label") || e.labels?.[0]?.innerText || "").trim(),
				Visible: (s.outlineStyle !== "none" && r.width > 0 && r.bottom > 0 && r.top < innerHeight) } })()`)
		if strings.Contains(found.Text, text) {
			if !found.Visible {
				p.picture("focus")
				p.Errorf("the focus on %q is not visible", text)
			}
			return
		}
	}
	p.picture("failed")
	p.Fatalf("Tab does not lead to %q", text)
}

// types writes into a field.
func (p *person) types(label, selector, text string) {
	p.Helper()
	if p.keyboard {
		p.tabTo(label)
		p.do(chromedp.KeyEvent(text))
		return
	}
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// picture takes a picture of the whole page.
func (p *person) picture(of string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.Logf("no picture of %s: %v", of, err)
		return
	}
	p.shots++
	file := filepath.Join(pictures(p), fmt.Sprintf("%s-%02d-%s.png", p.name, p.shots, of))
	if err := os.WriteFile(file, png, 0o600); err != nil {
		p.Error(err)
	}
}

// fits checks that the page does not scroll sideways.
func (p *person) fits() {
	p.Helper()
	wide := value[string](p, `document.documentElement.scrollWidth <= innerWidth ? "" :
		[...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, pre")).map((e) => e.outerHTML.slice(0, 120)).slice(0, 3).join("\n") || "something"`)
	if wide != "" {
		p.picture("too-wide")
		p.Errorf("the page is wider than the window: %s", wide)
	}
}
