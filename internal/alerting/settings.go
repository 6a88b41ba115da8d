package alerting

import (
	"errors"
	"net/url"
	"strings"

	"lumin-ingest/store/alerts"
)

// Settings are the settings of a user. The zero value sends nothing.
type Settings struct {
	URL      string // of the webhook; a secret. "" sends nothing
	Format   Format // of the messages
	AdminURL string // of the dashboard, for links, without a slash at its end; "" means no links
	Name     string // of the program, in messages
	Limits   alerts.Limits
}

// Format is the format of a message.
type Format string

// The formats of messages. Slack is also the format of Mattermost, Rocket.Chat and
// others that take {"text": "..."}.
const (
	Slack Format = "slack"
	JSON  Format = "json" // with the alerts one by one
	Text  Format = "text" // as plain text
)

// CheckURL returns why a URL cannot be that of a webhook. The error contains no part
// of it.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it does not begin with https:// or http://")
	case u.Host == "" || u.Hostname() == "":
		return errors.New("it names no host")
	case strings.ContainsAny(text, " \t\r\n"):
		return errors.New("it contains white space")
	}
	return nil
}
