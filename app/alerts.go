package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/store/alerts"
)

type alertsCommand struct {
	List  alertsListCommand  `cmd:"" help:"List the alerts that hold, the newest first, and what was sent about them."`
	Check alertsCheckCommand `cmd:"" help:"Examine every condition now, and show which alerts hold and why the others do not. Nothing is sent or stored."`
	Test  alertsTestCommand  `cmd:"" help:"Send a message to ALERT_WEBHOOK_URL, to see that it arrives."`
}

type alertsListCommand struct {
	listSettings
	ResolvedWithin time.Duration `default:"0s" placeholder:"DURATION" help:"Also alerts that were resolved within this time, such as 24h. They are kept for seven days."`
}

func (c *alertsListCommand) Run(ctx context.Context, std streams) error {
	w, closeWindow, err := c.openWindow(ctx)
	if err != nil {
		return err
	}
	defer closeWindow()
	all, err := w.Alerts(ctx, c.ResolvedWithin)
	if err != nil {
		return err
	}
	if err := alertListing().print(std.out, c.outputSettings, all.Alerts); err != nil || c.json() {
		return err
	}
	fmt.Fprintln(std.err, sendingText(all.Sending, time.Now()))
	return nil
}

func alertListing() listing[alerts.Open] {
	return listing[alerts.Open]{
		empty:    "no alert holds",
		headings: []string{"ALERT", "SINCE", "SENT", "RESOLVED", "TEXT"},
		cells: func(a alerts.Open) []string {
			return []string{a.Key, timeCell(&a.Since), timeOrNever(a.SentAt), timeOrDash(a.ResolvedAt), a.Text}
		},
		cut: []string{"TEXT"},
	}
}

func timeOrNever(at *time.Time) string {
	if at == nil {
		return "never"
	}
	return timeCell(at)
}

func timeOrDash(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return timeCell(at)
}

// lateLook is how long after its last look the program that sends counts as gone.
// It looks every minute.
const lateLook = 5 * time.Minute

// sendingText says how the sending of alerts goes.
func sendingText(s alerts.Sending, now time.Time) string {
	switch {
	case s.LookedAt == nil:
		return "no program sends alerts: set ALERT_WEBHOOK_URL for all programs"
	case s.Failures > 0:
		return fmt.Sprintf("the webhook has not accepted %d messages in a row (%s); the next attempt is at %s", s.Failures, s.Error, timeCell(s.NextAt))
	case now.Sub(*s.LookedAt) > lateLook:
		return fmt.Sprintf("no program has looked since %s: check that a program with ALERT_WEBHOOK_URL is running", timeCell(s.LookedAt))
	}
	return fmt.Sprintf("alerts are examined and sent; last at %s", timeCell(s.LookedAt))
}

type alertsCheckCommand struct {
	databaseSettings
	outputSettings
	alertLimits
}

// checkRow is one line of "alerts check".
type checkRow struct {
	Condition string `json:"condition"`
	Alert     string `json:"alert"`  // its key; "" if none holds
	Reason    string `json:"reason"` // the text of the alert, or why none holds
	Error     string `json:"error"`  // why the condition could not be examined; "" if it was
}

func (c *alertsCheckCommand) Run(ctx context.Context, std streams) error {
	limits, err := c.limits()
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	failed, rows := 0, checkRows(alerts.New(st.Pool(), limits).Examine(ctx))
	for _, row := range rows {
		if row.Error != "" {
			failed++
		}
	}
	err = checkListing().print(std.out, c.outputSettings, rows)
	if err == nil && failed > 0 {
		return advice.Add(fmt.Errorf("conditions that could not be examined: %d", failed), "their reasons are above; %s", advice.MissingRight)
	}
	return err
}

func checkListing() listing[checkRow] {
	return listing[checkRow]{
		headings: []string{"CONDITION", "ALERT", "REASON"},
		cells: func(r checkRow) []string {
			key, reason := r.Alert, r.Reason
			switch {
			case r.Error != "":
				key, reason = "not examined", r.Error
			case key == "":
				key = "none"
			}
			return []string{r.Condition, key, reason}
		},
		cut: []string{"REASON"},
	}
}

// checkRows returns a row for each alert, and for each condition without one. A
// command cannot know of the certificates of programs.
func checkRows(findings []alerts.Finding) (rows []checkRow) {
	for _, f := range findings {
		switch {
		case f.Err != nil:
			rows = append(rows, checkRow{Condition: f.Condition, Error: errtext.OneLine(f.Err)})
		case len(f.Alerts) == 0:
			rows = append(rows, checkRow{Condition: f.Condition, Reason: f.Reason})
		}
		for _, a := range f.Alerts {
			rows = append(rows, checkRow{Condition: f.Condition, Alert: a.Key, Reason: a.Text})
		}
	}
	return append(rows, checkRow{Condition: alerts.Certificate, Reason: "running programs report it: see \"alerts list\""})
}

type alertsTestCommand struct {
	webhookSettings
}

func (c *alertsTestCommand) Run(ctx context.Context, std streams) error {
	settings, err := c.alerting()
	if err != nil {
		return err
	}
	if settings.URL == "" {
		return advice.Usage("no webhook is set", "set ALERT_WEBHOOK_URL, such as https://hooks.slack.com/services/...")
	}
	now := time.Now()
	test := alerts.Open{Alert: alerts.Alert{Key: "test", Text: "this is a test: alerts arrive here"}, Since: now, SeenAt: now}
	if err := settings.Post(ctx, alerts.Message{Raised: []alerts.Open{test}}); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return advice.Add(errors.New(strings.TrimSpace(err.Error())), "check ALERT_WEBHOOK_URL and ALERT_FORMAT, and whether this machine may reach the webhook")
	}
	fmt.Fprintln(std.out, "the webhook accepted a test message")
	return nil
}
