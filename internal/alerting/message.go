package alerting

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/store/alerts"
)

// maxLines bounds the alerts of one kind in the text of a message. Slack shortens a
// text of more than 40,000 characters.
const maxLines = 25

// jsonMessage is a message in the format JSON.
type jsonMessage struct {
	Text   string      `json:"text"`
	Alerts []jsonAlert `json:"alerts"`
}

type jsonAlert struct {
	Key       string     `json:"key"`
	Condition string     `json:"condition"`
	Status    string     `json:"status"` // raised or resolved
	Text      string     `json:"text"`
	URL       string     `json:"url,omitempty"`
	Since     time.Time  `json:"since"`
	Resolved  *time.Time `json:"resolved_at,omitempty"`
}

// encode returns the body of a message and its media type.
func (s Settings) encode(m alerts.Message) (body []byte, mediaType string, err error) {
	const mediaJSON = "application/json"
	text := s.text(m)
	switch s.Format {
	case Text:
		return []byte(text), "text/plain; charset=utf-8", nil
	case JSON:
		message := jsonMessage{Text: text, Alerts: []jsonAlert{}}
		for _, a := range m.Raised {
			message.Alerts = append(message.Alerts, s.jsonAlert(a, "raised"))
		}
		for _, a := range m.Resolved {
			message.Alerts = append(message.Alerts, s.jsonAlert(a, "resolved"))
		}
		body, err = json.Marshal(message)
		return body, mediaJSON, err
	}
	// Slack reads these three characters as the beginning of a link or a mention.
	escaped := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
	body, err = json.Marshal(map[string]string{"text": escaped})
	return body, mediaJSON, err
}

func (s Settings) jsonAlert(a alerts.Open, status string) jsonAlert {
	return jsonAlert{
		Key: a.Key, Condition: a.Condition(), Status: status, Text: a.Text, URL: s.link(a.Alert), Since: a.Since.UTC(), Resolved: utc(a.ResolvedAt),
	}
}

func utc(at *time.Time) *time.Time {
	if at == nil {
		return nil
	}
	plain := at.UTC()
	return &plain
}

// link returns the address of the dashboard's page about an alert; "" if there is
// none.
func (s Settings) link(a alerts.Alert) string {
	if s.AdminURL == "" {
		return ""
	}
	return s.AdminURL + a.Page
}

// text returns a message as text: a line of summary, then the alerts.
func (s Settings) text(m alerts.Message) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n", s.Name, summary(m))
	s.list(&text, m.Raised, func(a alerts.Open) string {
		if a.SentAt == nil {
			return ""
		}
		return fmt.Sprintf("still so, since %s: ", a.Since.UTC().Format("2006-01-02 15:04 UTC"))
	})
	if len(m.Resolved) > 0 && len(m.Raised) > 0 {
		text.WriteString("Resolved:\n")
	}
	s.list(&text, m.Resolved, func(a alerts.Open) string {
		if a.ResolvedAt == nil {
			return ""
		}
		return fmt.Sprintf("after %s: ", a.ResolvedAt.Sub(a.Since).Round(time.Second))
	})
	return text.String()
}

func summary(m alerts.Message) string {
	var parts []string
	switch len(m.Raised) {
	case 0:
	case 1:
		parts = append(parts, "1 alert")
	default:
		parts = append(parts, fmt.Sprintf("%d alerts", len(m.Raised)))
	}
	if len(m.Resolved) > 0 {
		parts = append(parts, fmt.Sprintf("%d resolved", len(m.Resolved)))
	}
	return strings.Join(parts, ", ")
}

// list writes a line for each alert, and its link.
func (s Settings) list(text *strings.Builder, list []alerts.Open, before func(alerts.Open) string) {
	for i, a := range list {
		if i == maxLines {
			fmt.Fprintf(text, "• and %d more\n", len(list)-maxLines)
			return
		}
		fmt.Fprintf(text, "• %s%s\n", before(a), a.Text)
		if link := s.link(a.Alert); link != "" {
			fmt.Fprintf(text, "  %s\n", link)
		}
	}
}
