package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lumin-ingest/store/catalog"
)

// versionsOf lists the versions of programs, with a count for each if there are
// several. It is empty if no version is known.
func versionsOf(programs []catalog.Program) string {
	running, unknown := map[string]int{}, 0
	for _, p := range programs {
		if p.Version == "" {
			unknown++
			continue
		}
		running[p.Version]++
	}
	if len(running) == 0 {
		return ""
	}
	versions := slices.Sorted(maps.Keys(running))
	if unknown > 0 {
		versions, running["an older version"] = append(versions, "an older version"), unknown
	}
	if len(versions) > 1 {
		for i, v := range versions {
			versions[i] = fmt.Sprintf("%d of %s", running[v], v)
		}
	}
	return "; " + strings.Join(versions, ", ")
}
