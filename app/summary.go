package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lumin-ingest/internal/version"
	"lumin-ingest/store/catalog"
)

// summary returns the attributes of the log line "started".
func (s *service) summary() []any {
	summary := []any{"version", version.String(), "role", s.cfg.role(), "job_types", s.cfg.registry.Kinds()}
	if !s.cfg.work {
		return summary
	}
	queues := map[string]int{}
	for _, queue := range s.cfg.registry.Queues() {
		queues[queue] = s.cfg.maxWorkers
	}
	maps.Copy(queues, s.cfg.queues)
	return append(summary, "queues", queues,
		"retain_payloads", ageText(s.cfg.retention.Payloads), "retain_events", ageText(s.cfg.retention.Events))
}

// ageText formats an age in the syntax of the settings.
func ageText(age time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case age == 0:
		return "0"
	case age%day == 0:
		return fmt.Sprintf("%dd", age/day)
	}
	return age.String()
}

// versionsOf lists the versions of programs, with a count for each if there are
// several. It is empty if no version is known.
func versionsOf(programs []catalog.Program) string {
	running := map[string]int{}
	for _, p := range programs {
		if p.Version != "" {
			running[p.Version]++
		}
	}
	if len(running) == 0 {
		return ""
	}
	versions := slices.Sorted(maps.Keys(running))
	if unknown := len(programs) - sum(running); unknown > 0 {
		versions, running["an older version"] = append(versions, "an older version"), unknown
	}
	if len(versions) > 1 {
		for i, v := range versions {
			versions[i] = fmt.Sprintf("%d of %s", running[v], v)
		}
	}
	return "; " + strings.Join(versions, ", ")
}
