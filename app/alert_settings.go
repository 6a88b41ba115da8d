package app

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/docker/go-units"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/alerting"
	"lumin-ingest/store/alerts"
)

// webhookSettings say where alerts are sent.
type webhookSettings struct {
	AlertWebhookURL     string `name:"alert-webhook-url" env:"ALERT_WEBHOOK_URL" placeholder:"URL" help:"Send alerts to this webhook, such as an incoming webhook of Slack. The URL is a secret. Off by default."`
	AlertWebhookURLFile string `name:"alert-webhook-url-file" env:"ALERT_WEBHOOK_URL_FILE" placeholder:"FILE" help:"File that holds the value."`
	AlertFormat         string `env:"ALERT_FORMAT" enum:"slack,json,text" default:"slack" help:"slack: JSON with a text, which others understand too; json: the same with the alerts one by one; text: plain text."`
	AdminURL            string `name:"admin-url" env:"ADMIN_URL" placeholder:"URL" help:"Address of the dashboard as people reach it, for links in alerts."`
}

// alertLimits say when some of the conditions hold.
type alertLimits struct {
	AlertBacklog      time.Duration `env:"ALERT_BACKLOG" default:"10m" help:"Alert when a job that is due has waited this long for a worker."`
	AlertDatabaseSize string        `env:"ALERT_DATABASE_SIZE" placeholder:"SIZE" help:"Alert when the database has this size, such as 50GiB. PostgreSQL cannot tell how much space is left. Off by default."`
}

// alerting returns where alerts are sent; nowhere if no webhook is set.
func (s webhookSettings) alerting() (settings alerting.Settings, err error) {
	settings = alerting.Settings{Format: alerting.Format(s.AlertFormat), Name: programName()}
	if settings.URL, err = secret("ALERT_WEBHOOK_URL", s.AlertWebhookURL, s.AlertWebhookURLFile); err != nil {
		return settings, err
	}
	if settings.URL != "" {
		if err := alerting.CheckURL(settings.URL); err != nil {
			return settings, advice.Usage("ALERT_WEBHOOK_URL is not the URL of a webhook: "+err.Error(), "copy it from the settings of the receiver, such as https://hooks.slack.com/services/...")
		}
	}
	settings.AdminURL, err = adminURL(s.AdminURL)
	return settings, err
}

// adminURL returns ADMIN_URL without a slash at its end.
func adminURL(text string) (string, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "/")
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", advice.Usage("ADMIN_URL is not an address of a dashboard", "write it as https://admin.example.com, with a path if a proxy adds one")
	}
	return text, nil
}

func (s alertLimits) limits() (limits alerts.Limits, err error) {
	if limits.Backlog = s.AlertBacklog; limits.Backlog < time.Minute {
		return limits, advice.Usage("ALERT_BACKLOG is "+s.AlertBacklog.String(), "give 1m or more")
	}
	size := strings.TrimSpace(s.AlertDatabaseSize)
	if size == "" {
		return limits, nil
	}
	if limits.DatabaseSize, err = units.RAMInBytes(size); err != nil || limits.DatabaseSize < units.MiB {
		return limits, advice.Usage(fmt.Sprintf("ALERT_DATABASE_SIZE is %q", size), "write a size such as 50GiB, of at least 1MiB")
	}
	return limits, nil
}
