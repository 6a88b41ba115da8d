package pages

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"lumin-ingest/store/operate"
)

// auditShown is how many rows of the audit log a page shows.
const auditShown = 50

// auditData is what audit.html shows.
type auditData struct {
	Actor, Action, Via string
	Failed             bool
	Actions, Vias      []string
	Rows               []auditRow
	Older, Newest      string
}

// Filtered reports whether any filter is set.
func (d auditData) Filtered() bool { return d.Actor+d.Action+d.Via != "" || d.Failed }

// auditRow is one change.
type auditRow struct {
	operate.Row
	Subjects []auditFact
	Results  []auditFact
}

// auditFact is one member of a JSON object, as text.
type auditFact struct{ Name, Text, Path string }

// auditLog lists the changes that people have made.
func (p *Pages) auditLog(c echo.Context) error {
	data := auditData{
		Actor: clean(c, "actor"), Action: clean(c, "action"), Via: clean(c, "via"), Failed: c.QueryParam("failed") != "",
		Actions: operate.Actions(), Vias: operate.Vias(),
	}
	before, err := beforeID(c.QueryParam("before"))
	if err != nil {
		return err
	}
	rows, err := p.cfg.Operator.List(c.Request().Context(), operate.Filter{
		Actor: data.Actor, Action: data.Action, Via: data.Via, Failed: data.Failed, Before: before, Limit: auditShown + 1,
	})
	if err != nil {
		return err
	}
	more := len(rows) > auditShown
	for _, row := range rows[:min(len(rows), auditShown)] {
		data.Rows = append(data.Rows, auditRow{row, members(row.Subject), members(row.Result)})
	}
	if more {
		data.Older = data.path(strconv.FormatInt(data.Rows[auditShown-1].ID, 10))
	}
	if before > 0 {
		data.Newest = data.path("")
	}
	data.Actions, data.Vias = with(data.Actions, data.Action), with(data.Vias, data.Via)
	return p.show(c, "audit", view{
		Title: "Audit log", Section: "/audit", Data: data,
		Lead: "Every change that a person made, and every look at personal data: who, what, from where and why.",
	})
}

func (d auditData) path(before string) string {
	failed := ""
	if d.Failed {
		failed = "1"
	}
	return path("/audit", "actor", d.Actor, "action", d.Action, "via", d.Via, "failed", failed, "before", before)
}

func beforeID(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, badRequest("It names no place in this list. Begin at the newest row.")
	}
	return id, nil
}

// members are the members of a JSON object as text, in order. What belongs to a page
// has its path.
func members(object json.RawMessage) (list []auditFact) {
	var all map[string]any
	if json.Unmarshal(object, &all) != nil {
		return nil
	}
	for name, value := range all {
		f := auditFact{Name: strings.ReplaceAll(name, "_", " "), Text: textOfMember(value)}
		if pages := map[string]string{"event": "/events/", "job": "/jobs/", "replay": "/replays/"}; pages[name] != "" {
			f.Path = pages[name] + f.Text
		}
		if name == "signature_request_id" {
			f.Path = requestPath(f.Text)
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b auditFact) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func textOfMember(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		texts := make([]string, len(v))
		for i := range v {
			texts[i] = textOfMember(v[i])
		}
		return strings.Join(texts, ", ")
	}
	return fmt.Sprint(value)
}
