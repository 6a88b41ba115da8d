package pages_test

import (
	"slices"
	"testing"

	"golang.org/x/net/html"

	"lumin-ingest/store/operate"
)

// The filters of the audit log offer every action and every way.
func TestAuditFilters(t *testing.T) {
	t.Parallel()
	p := newRig(t).get("/audit").want(200)
	for name, want := range map[string][]string{"action": operate.Actions(), "via": operate.Vias()} {
		if got := p.options(name); !slices.Equal(got, append([]string{"Anything"}, want...)) {
			t.Errorf("%s offers %q, want %q", name, got, want)
		}
	}
}

// options returns the texts of the options of a field.
func (p *page) options(name string) (texts []string) {
	for _, field := range p.all("select") {
		if attribute(field, "name") != name {
			continue
		}
		for n := range field.Descendants() {
			if n.Type == html.ElementNode && n.Data == "option" {
				texts = append(texts, n.FirstChild.Data)
			}
		}
	}
	return texts
}
