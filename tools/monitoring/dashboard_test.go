package monitoring

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// dashboard is the part of a Grafana dashboard that the tests check.
type dashboard struct {
	Title      string
	Templating struct{ List []variable }
	Panels     []panel
}

type variable struct{ Name string }

type panel struct {
	ID      int
	Title   string
	GridPos struct{ X, Y, W, H int }
	Targets []struct{ Expr, RefID string }
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// dashboardExpressions returns the queries of the dashboard with the values that
// Grafana puts in place of variables.
func dashboardExpressions(t *testing.T) (expressions []string) {
	t.Helper()
	values := strings.NewReplacer("$__rate_interval", "5m", "$source", ".*", "$kind", ".*")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, values.Replace(target.Expr))
		}
	}
	return expressions
}

// Panels have titles, queries and places of their own, and use only variables that
// the dashboard has.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if len(d.Panels) < 20 {
		t.Errorf("the dashboard has %d panels", len(d.Panels))
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.Title == "" || len(p.Targets) == 0 || ids[p.ID] {
			t.Errorf("panel %d (%s) has no title, no query, or the id of another", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s is at the place of %q, or outside", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, target := range p.Targets {
			rest := target.Expr
			for _, v := range append(d.Templating.List, variable{"__rate_interval"}) {
				rest = strings.ReplaceAll(rest, "$"+v.Name, "")
			}
			if strings.Contains(rest, "$") {
				t.Errorf("%s: %s has an unknown variable", p.Title, target.Expr)
			}
		}
	}
}
