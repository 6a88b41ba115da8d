package pages_test

import (
	"io"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// check checks what holds for each page: it is well formed, has no inline script
// or style, its headings have an order, each id is unique and each reference to
// an id has its target, and each field has a label.
func (p *page) check() {
	p.Helper()
	p.checkBalance()
	root, err := html.Parse(strings.NewReader(p.body))
	if err != nil {
		p.Fatalf("%s: %v", p.path, err)
	}
	p.root = root
	p.checkElements()
	p.checkHeadings()
	p.checkReferences()
}

// checkBalance compares opening and closing tags. The parser itself would accept
// anything.
func (p *page) checkBalance() {
	p.Helper()
	void := []string{"meta", "link", "input", "br", "hr", "img"}
	var open []string
	tokens := html.NewTokenizer(strings.NewReader(p.body))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if tokens.Err() != io.EOF || len(open) > 0 {
				p.Errorf("%s: %v, open: %v", p.path, tokens.Err(), open)
			}
			return
		case html.StartTagToken:
			name, _ := tokens.TagName()
			if !slices.Contains(void, string(name)) {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := tokens.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				p.Errorf("%s: </%s> closes %v", p.path, name, open)
				return
			}
			open = open[:len(open)-1]
		}
	}
}

func (p *page) checkElements() {
	p.Helper()
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				p.Errorf("%s: <%s %s=%q>", p.path, n.Data, a.Key, a.Val)
			}
		}
		switch n.Data {
		case "style", "iframe", "object", "embed", "base":
			p.Errorf("%s has <%s>", p.path, n.Data)
		case "script":
			if !strings.HasPrefix(attribute(n, "src"), "/assets/") || n.FirstChild != nil {
				p.Errorf("%s has an inline or foreign script", p.path)
			}
		case "a":
			if href := attribute(n, "href"); !strings.HasPrefix(href, "/") && !strings.HasPrefix(href, "#") || strings.HasPrefix(href, "//") {
				p.Errorf("%s links to %q", p.path, href)
			}
		case "form":
			if action := attribute(n, "action"); attribute(n, "method") == "post" && !strings.HasPrefix(action, "/") {
				p.Errorf("%s posts to %q", p.path, action)
			}
		}
	}
}

// checkHeadings wants one h1, and no level left out.
func (p *page) checkHeadings() {
	p.Helper()
	level, ones := 0, 0
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode || len(n.Data) != 2 || n.Data[0] != 'h' || n.Data[1] < '1' || n.Data[1] > '6' || inside(n, "dialog", "nav") {
			continue
		}
		now := int(n.Data[1] - '0')
		if now == 1 {
			ones++
		}
		if now > level+1 {
			p.Errorf("%s: h%d after h%d", p.path, now, level)
		}
		level = now
	}
	if ones != 1 {
		p.Errorf("%s has %d h1", p.path, ones)
	}
}

func inside(n *html.Node, names ...string) bool {
	for up := range n.Ancestors() {
		if slices.Contains(names, up.Data) {
			return true
		}
	}
	return false
}

func (p *page) checkReferences() {
	p.Helper()
	ids := map[string]bool{}
	for n := range p.root.Descendants() {
		if id := attribute(n, "id"); n.Type == html.ElementNode && id != "" {
			if ids[id] {
				p.Errorf("%s: id %q is not unique", p.path, id)
			}
			ids[id] = true
		}
	}
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, name := range []string{"for", "aria-labeledby", "aria-describedby", "popovertarget", "data-copy"} {
			for id := range strings.FieldsSeq(attribute(n, name)) {
				if !ids[id] {
					p.Errorf("%s: %s=%q has no target", p.path, name, id)
				}
			}
		}
		if slices.Contains([]string{"input", "select", "textarea"}, n.Data) && attribute(n, "type") != "hidden" && !p.labeled(n) {
			p.Errorf("%s: <%s name=%q> has no label", p.path, n.Data, attribute(n, "name"))
		}
		if attribute(n, "data-live") != "" && attribute(n, "id") == "" {
			p.Errorf("%s: a live region has no id", p.path)
		}
	}
}

func (p *page) labeled(field *html.Node) bool {
	if attribute(field, "aria-label") != "" || attribute(field, "aria-labeledby") != "" || inside(field, "label") {
		return true
	}
	for _, label := range p.all("label") {
		if id := attribute(field, "id"); id != "" && attribute(label, "for") == id {
			return true
		}
	}
	return false
}
