package app

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lumin-ingest/store/operate"
)

type auditLogCommand struct {
	listSettings
	Actor  string `placeholder:"WHO" help:"Only changes of this person, token or program."`
	Action string `help:"Only this kind of change, such as replay, dismiss, erase or reveal."`
	Via    string `enum:"dashboard,api,command,sql,worker," default:"" help:"Only changes that came this way: dashboard, api, command, sql, or worker for what a program recovers periodically."`
	Failed bool   `help:"Only changes that failed."`
	Since  when   `placeholder:"TIME" help:"Only changes since then: a day such as 2006-01-02, a time as the tables print it, or how long ago: 24h, 7d."`
	Until  when   `placeholder:"TIME" help:"Only changes before then."`
	Limit  int    `default:"20" help:"Show at most this many."`
}

func (c *auditLogCommand) Run(ctx context.Context, std streams) error {
	if err := checkLimit(c.Limit); err != nil {
		return err
	}
	if err := c.Since.checkPast(); err != nil {
		return err
	}
	return list(ctx, std, c.listSettings, auditLogListing(), func(w operatorWindow) ([]operate.Row, error) {
		return w.AuditLog(ctx, operate.Filter{
			Actor: c.Actor, Action: c.Action, Via: c.Via, Failed: c.Failed, Since: c.Since.at, Until: c.Until.at, Limit: c.Limit,
		})
	})
}

func auditLogListing() listing[operate.Row] {
	return listing[operate.Row]{
		empty:    "no changes",
		headings: []string{"ID", "TIME", "WHO", "FROM", "ACTION", "OF", "OUTCOME", "REASON"},
		cells: func(r operate.Row) []string {
			from := r.Via
			if r.From != "" {
				from += " " + r.From
			}
			outcome := r.Outcome
			switch {
			case r.Error != "":
				outcome = "failed: " + r.Error
			case outcome == "":
				outcome = "not known yet"
			}
			return []string{
				strconv.FormatInt(r.ID, 10), timeCell(&r.At), r.Actor, from, r.Action, membersCell(r.Subject),
				strings.TrimSpace(outcome + " " + membersCell(r.Result)), r.Reason,
			}
		},
		cut: []string{"WHO", "OF", "OUTCOME", "REASON"},
	}
}

// membersCell shows the members of a JSON object as "name value, name value".
func membersCell(object json.RawMessage) string {
	members := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(string(object)))
	decoder.UseNumber()
	if err := decoder.Decode(&members); err != nil {
		return string(object)
	}
	var parts []string
	for name, value := range members {
		text := fmt.Sprint(value)
		if values, ok := value.([]any); ok {
			text = strings.Trim(fmt.Sprint(values), "[]")
		}
		parts = append(parts, name+" "+text)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
