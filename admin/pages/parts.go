package pages

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lumin-ingest/admin/assets"
	"lumin-ingest/internal/mask"
	"lumin-ingest/store/operate"
)

// functions are those of the templates.
func (p *Pages) functions() template.FuncMap {
	return template.FuncMap{
		"asset":  assets.Path,
		"when":   p.when,
		"age":    func(t any) string { return p.age(t) },
		"span":   span,
		"count":  count,
		"about":  about,
		"plural": plural,
		"number": numberOf,
		"tone":   tone,
		"clip":   clip,
		"path":   path,
		"value":  func(s *string) string { return deref(s) },
		"dict":   dict,
		"list":   func(texts ...string) []string { return texts },
		"join":   strings.Join,
		"title":  capitalized,

		"requestPath": requestPath,
		"eventType":   eventType,
		"maskText":    mask.String,
		"flag":        flag,
		"late":        late,

		"internalWork": operate.InternalWork,
	}
}

// moment is a time for the template "when".
type moment struct {
	Machine string // RFC 3339, in UTC
	Text    string // in UTC
	Age     string // such as "3 min ago", or "in 2 h"
}

// when describes a time.Time or *time.Time. It is nil for nil and the zero time.
func (p *Pages) when(t any) *moment {
	at, ok := timeOf(t)
	if !ok {
		return nil
	}
	return &moment{at.UTC().Format(time.RFC3339Nano), at.UTC().Format("2006-01-02 15:04:05"), p.age(at)}
}

// age is how long ago a time was, or how far it is off.
func (p *Pages) age(t any) string {
	at, ok := timeOf(t)
	if !ok {
		return "never"
	}
	switch d := p.cfg.Now().Sub(at); {
	case d < -time.Second:
		return "in " + span(coarse(-d))
	case d < time.Second:
		return "just now"
	default:
		return span(coarse(d)) + " ago"
	}
}

// coarse leaves out seconds after the first minute.
func coarse(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Truncate(time.Second)
	}
	return d.Truncate(time.Minute)
}

func timeOf(t any) (time.Time, bool) {
	switch at := t.(type) {
	case time.Time:
		return at, !at.IsZero()
	case *time.Time:
		if at != nil {
			return *at, true
		}
	}
	return time.Time{}, false
}

// span is a duration with one unit, or two below ten of the larger one: 340 ms,
// 12 s, 4 min, 2 h 5 min, 3 d.
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Millisecond:
		return "under 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second && d%time.Second >= 100*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return twoUnits(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return twoUnits(d, time.Hour, "h", time.Minute, "min")
	}
	return twoUnits(d, 24*time.Hour, "d", time.Hour, "h")
}

func twoUnits(d, large time.Duration, name string, small time.Duration, smallName string) string {
	n, rest := d/large, d%large/small
	if n >= 10 || rest == 0 {
		return fmt.Sprintf("%d %s", n, name)
	}
	return fmt.Sprintf("%d %s %d %s", n, name, rest, smallName)
}

// count formats an int or int64 with a thin space between groups of three digits.
func count(n any) string {
	number := numberOf(n)
	digits, sign := strconv.FormatInt(number, 10), ""
	if number < 0 {
		digits, sign = digits[1:], "−"
	}
	var out strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteRune('\u202f')
		}
		out.WriteRune(d)
	}
	return sign + out.String()
}

func numberOf(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case *int64:
		if n != nil {
			return *n
		}
	}
	return 0
}

// about formats a number that may be an estimate.
func about(n int64, exact bool) string {
	if exact {
		return count(n)
	}
	return "about " + count(n)
}

// plural returns a number with its noun: 1 run, 2 runs.
func plural(n any, one, many string) string {
	if numberOf(n) == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// tone is the class of a state, which gives it a color and a mark.
func tone(state string) string {
	switch state {
	case "succeeded", "done", "accepted", "ok", "approved", "promoted", "completed", "receiving":
		return "ok"
	case "failed", "held", "rejected", "discarded", "refused", "missing", "bad":
		return "bad"
	case "retrying", "conflict", "unrecognized", "late", "warn", "undecided", "retryable":
		return "warn"
	case "running", "pending", "ordered", "redelivered", "available":
		return "busy"
	case "parked", "paused", "scheduled", "waiting":
		return "wait"
	}
	return "idle"
}

// clip cuts a text after n characters.
func clip(n int, text string) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n]) + "…"
}

// path returns a path with a query of names and values. Empty values are left
// out.
func path(base string, query ...any) string {
	values := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		value := query[i+1]
		if id, ok := value.(*int64); ok && id != nil {
			value = *id
		}
		if value := fmt.Sprint(value); value != "" {
			values.Add(fmt.Sprint(query[i]), value)
		}
	}
	if len(values) == 0 {
		return base
	}
	return base + "?" + values.Encode()
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// dict makes a map of names and values, for a template with several arguments.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict has %d arguments", len(pairs))
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("name %v of dict is no text", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// capitalized returns a text whose first letter is a capital.
func capitalized(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return strings.ToUpper(string(r)) + s[size:]
}

// eventType is an event type without the prefix that all of Lumin's have.
func eventType(t string) string { return strings.TrimPrefix(t, "signature_request_") }

// flag is the value of a filter that is on or off.
func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// late is how long after an event it was received. It is empty for more than a day:
// then the time of receipt says more.
func late(happened *time.Time, received time.Time) string {
	if happened == nil || received.Sub(*happened) > 24*time.Hour || received.Before(*happened) {
		return ""
	}
	return span(received.Sub(*happened))
}
