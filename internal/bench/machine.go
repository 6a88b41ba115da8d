package main

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"lumin-ingest/internal/bench/report"
)

// describe notes the machine and the options of this run.
func (b *bench) describe(ctx context.Context) (err error) {
	m := report.Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), PostgreSQLSettings: map[string]string{}}
	m.Processor, m.System, m.Memory = hardware()
	err = onDatabase(ctx, b.server.URL(), func(do execer) error {
		names := []string{"fsync", "synchronous_commit", "full_page_writes", "wal_sync_method"}
		for name := range serverSettings() {
			names = append(names, name)
		}
		for _, name := range names {
			var value string
			if err := do.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value); err != nil {
				return err
			}
			m.PostgreSQLSettings[name] = value
		}
		return do.QueryRow(ctx, `SELECT current_setting('server_version')`).Scan(&m.PostgreSQL)
	})
	b.result.Machine = m
	b.result.Run = report.Run{
		Date: time.Now().UTC().Format("2006-01-02"), Commit: commit(ctx), Command: strings.TrimSpace(b.command),
		Rounds: b.rounds, Seconds: b.seconds, Backlog: b.backlog, Events: b.events,
	}
	return err
}

// commit returns the commit of the checkout, if git can say it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
