package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/lumin"
	"lumin-ingest/store/audit"
)

type auditCommand struct {
	databaseSettings
	sourceSettings
	outputSettings
	timeRange
}

func (c *auditCommand) Run(ctx context.Context, std streams) error {
	if err := c.checkTimes(); err != nil {
		return err
	}
	keyrings, err := c.anyKeyrings()
	if err != nil {
		return err
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	out, headed := bufio.NewWriter(std.out), false
	result, err := audit.Run(ctx, st.Pool(), audit.Range{Since: c.Since.at, Until: c.Until.at}, keyrings, func(f audit.Finding) error {
		if c.json() {
			return printJSON(out, tamperedLine{f.EventID, f.What, f.Source, finiteTime(f.ReceivedAt)})
		}
		if !headed {
			headed = true
			fmt.Fprintln(out, "EVENT       MISMATCH")
		}
		_, err := fmt.Fprintf(out, "%-10d  %s\n", f.EventID, f.What)
		return err
	})
	if err != nil {
		return errors.Join(err, out.Flush())
	}
	if c.json() {
		err = printJSON(out, auditJSON(result, keyrings))
	} else {
		err = out.Flush()
		printAudit(std.out, result, keyrings)
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if result.Tampered > 0 {
		return advice.Add(fmt.Errorf("%d of %d events were changed after they were recorded", result.Tampered, result.Checked+result.Removed),
			"compare with a backup: \"events show\" and \"events payload\" print the current content")
	}
	return nil
}

// unchecked divides the events whose signatures could not be checked. The key
// of the revoked ones is no longer configured. The source of those elsewhere
// has no secret in this environment.
func unchecked(a audit.Result, keyrings map[string]*lumin.Keyring) (revoked, elsewhere []audit.RevokedKey, events, eventsElsewhere int64) {
	for _, use := range a.Revoked {
		if _, here := keyrings[use.Source]; here {
			revoked, events = append(revoked, use), events+use.Events
		} else {
			elsewhere, eventsElsewhere = append(elsewhere, use), eventsElsewhere+use.Events
		}
	}
	return revoked, elsewhere, events, eventsElsewhere
}

func useTable(out io.Writer, heading string, uses []audit.RevokedKey) {
	rows := make([][]string, len(uses))
	for i, use := range uses {
		rows[i] = []string{use.Source, use.KeyID, strconv.FormatInt(use.Events, 10), timeCell(finiteTime(use.FirstAt)), timeCell(finiteTime(use.LastAt))}
	}
	table(out, []string{"SOURCE", heading, "EVENTS", "FIRST", "LAST"}, rows)
}

func printAudit(out io.Writer, a audit.Result, keyrings map[string]*lumin.Keyring) {
	if a.Checked+a.Removed == 0 {
		fmt.Fprintln(out, "no events")
		return
	}
	revoked, elsewhere, events, eventsElsewhere := unchecked(a, keyrings)
	table(out, []string{"AUDIT", ""}, [][]string{
		{"events", strconv.FormatInt(a.Checked+a.Removed, 10)},
		{"checked", strconv.FormatInt(a.Checked, 10)},
		{"of these recovered, without a signature", strconv.FormatInt(a.Recovered, 10)},
		{"of these under a key since revoked", strconv.FormatInt(events, 10)},
		{"of these under a key not configured here", strconv.FormatInt(eventsElsewhere, 10)},
		{"without a body to check", strconv.FormatInt(a.Removed, 10)},
		{"bodies of redeliveries checked", strconv.FormatInt(a.Redeliveries, 10)},
		{"tampered with", strconv.FormatInt(a.Tampered, 10)},
	})
	if len(revoked) > 0 {
		fmt.Fprintln(out, "\nAccepted under a key that is no longer configured. Hash and identity were checked; the signature cannot be:")
		useTable(out, "KEY NO LONGER CONFIGURED", revoked)
	}
	if len(elsewhere) > 0 {
		fmt.Fprintln(out, "\nNo secret of these sources is configured here, so only hash and identity were checked, not the signature:")
		useTable(out, "KEY NOT CONFIGURED HERE", elsewhere)
	}
}

// tamperedLine is one finding as JSON.
type tamperedLine struct {
	EventID    int64      `json:"event_id"`
	What       string     `json:"what"`
	Source     string     `json:"source"`
	ReceivedAt *time.Time `json:"received_at"`
}

// auditLine is the last line of the JSON output.
type auditLine struct {
	Checked      int64         `json:"checked"`
	Recovered    int64         `json:"recovered"` // of the checked ones: they have no signature
	Redeliveries int64         `json:"redeliveries"`
	Removed      int64         `json:"removed"`
	Tampered     int64         `json:"tampered"`
	Revoked      []revokedLine `json:"revoked_keys"`
	Elsewhere    []revokedLine `json:"keys_not_configured_here"`
}

type revokedLine struct {
	Source  string     `json:"source"`
	KeyID   string     `json:"key_id"`
	Events  int64      `json:"events"`
	FirstAt *time.Time `json:"first_at"`
	LastAt  *time.Time `json:"last_at"`
}

func auditJSON(a audit.Result, keyrings map[string]*lumin.Keyring) auditLine {
	revoked, elsewhere, _, _ := unchecked(a, keyrings)
	return auditLine{a.Checked, a.Recovered, a.Redeliveries, a.Removed, a.Tampered, useLines(revoked), useLines(elsewhere)}
}

func useLines(uses []audit.RevokedKey) []revokedLine {
	lines := make([]revokedLine, len(uses))
	for i, use := range uses {
		lines[i] = revokedLine{use.Source, use.KeyID, use.Events, finiteTime(use.FirstAt), finiteTime(use.LastAt)}
	}
	return lines
}

// finiteTime returns nil for a time that JSON cannot represent. Tampering may
// have moved a time to any year, or to infinity.
func finiteTime(t time.Time) *time.Time {
	t = t.UTC()
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return &t
}
