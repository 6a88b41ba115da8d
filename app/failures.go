package app

import (
	"context"
	"fmt"
	"strconv"

	"lumin-ingest/store"
)

type failuresCommand struct {
	databaseSettings
	outputSettings
	Kind  []string `help:"Only of these job types."`
	Since when     `placeholder:"TIME" help:"Only what failed since then: 2006-01-02, a time, or how long ago: 24h, 7d."`
	Limit int      `default:"20" help:"At most so many groups."`
}

// Run implements the command.
func (c *failuresCommand) Run(ctx context.Context, std streams) error {
	if c.Limit < 1 {
		return usage(fmt.Sprintf("--limit is %d", c.Limit), "give 1 or more")
	}
	st, closeStore, err := c.openStore(ctx)
	if err != nil {
		return err
	}
	defer closeStore()
	if err := checkNames(ctx, st, store.ReplayFilter{Kinds: c.Kind}); err != nil {
		return err
	}
	groups, err := st.FailureGroups(ctx, c.Kind, c.Since.at, c.Limit)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		for _, g := range groups {
			if err := printJSON(std.out, g); err != nil {
				return err
			}
		}
		return nil
	}
	if len(groups) == 0 {
		fmt.Fprintln(std.out, "no failed runs")
		return nil
	}
	rows := make([][]string, len(groups))
	for i, g := range groups {
		rows[i] = []string{
			g.Kind, strconv.FormatInt(g.Runs, 10), timeCell(&g.FirstAt), timeCell(&g.LastAt),
			strconv.FormatInt(g.EventID, 10), errorCell(g.Error), replayOf(g),
		}
	}
	table(std.out, []string{"JOB TYPE", "FAILED RUNS", "FIRST", "LAST", "EVENT", "ERROR, SUCH AS", "TO REPLAY THEM"}, rows)
	return nil
}

// replayOf is the command that replays a group.
func replayOf(g store.FailureGroup) string {
	return "lumin-ingest replay --kind " + g.Kind + " --error " + g.Fingerprint
}
