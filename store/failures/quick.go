package failures

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/internal/estimate"
)

// effort are the numbers that keep [List.Quickly] at 20 ms.
type effort struct {
	exact  int64   // up to so many runs are counted exactly
	newest int64   // otherwise so many of the newest are looked at
	blocks int64   // and a sample of so many blocks of the table
	share  float64 // of the rows of these blocks
}

// A run takes about a microsecond, or ten if it is looked up for a row of another
// table. There are about 80 runs in a block, 100 dismissals or 25 jobs. Few jobs are
// those of retrying runs, so every such job in a block is looked at.
func inPlace() effort     { return effort{exact: 5000, newest: 1000, blocks: 128, share: 1} }
func ofJobs() effort      { return effort{exact: 1000, newest: 300, blocks: 40, share: 1} }
func ofDismissed() effort { return effort{exact: 1000, newest: 300, blocks: 64, share: 0.1} }

// Quickly is like [List.Exactly], but its duration has a bound. A long list is
// estimated from its newest runs and from a sample. So a new error is in the list
// even if it is rare.
func (l List) Quickly(ctx context.Context, pool *pgxpool.Pool, kinds []string, since *time.Time, limit int) (Groups, error) {
	var many bool
	if err := pool.QueryRow(ctx, l.manySQL(), l.exact).Scan(&many); err != nil {
		return Groups{}, fmt.Errorf("group failures: %w", err)
	}
	if !many {
		return l.Exactly(ctx, pool, kinds, since, limit)
	}
	const everyGroup = 1000
	sampled, coverage, err := estimate.Sample(ctx, pool, l.sampledTable(), l.blocks, func(ctx context.Context, tx pgx.Tx, percent float64) ([]Group, error) {
		if percent >= 100 {
			return l.group(ctx, tx, l.all, kinds, since, limit)
		}
		return l.group(ctx, tx, l.sampleSQL(), kinds, since, everyGroup, percent, l.share)
	})
	if err != nil {
		return Groups{}, err
	}
	if coverage.Exact {
		for i := range sampled {
			sampled[i].Exact = true
		}
		return Groups{Groups: sampled, Exact: true}, nil
	}
	coverage.Fraction *= l.share
	newest, err := l.group(ctx, pool, l.newestSQL(), kinds, since, everyGroup)
	if err != nil {
		return Groups{}, err
	}
	for i := range sampled {
		sampled[i].Runs = coverage.Scale(sampled[i].Runs)
		sampled[i].SucceededBefore = coverage.Scale(sampled[i].SucceededBefore)
		for d := range sampled[i].Dismissals {
			sampled[i].Dismissals[d].Runs = coverage.Scale(sampled[i].Dismissals[d].Runs)
		}
	}
	found := merge(newest, sampled)
	return Groups{Groups: found[:min(limit, len(found))], MayMiss: coverage.MayMiss()}, nil
}

// GroupID names a group of runs.
type GroupID struct{ Kind, Fingerprint string }

// stillFailedSQL reads the failed runs once, whatever the number of groups.
const stillFailedSQL = `
SELECT DISTINCT r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `')
FROM lumin.runs r
WHERE r.state = 'failed' AND (r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `')) IN (SELECT * FROM unnest($1::text[], $2::text[]))`

// StillFailed returns those of the given groups that have a failed run. Its duration
// grows with the failed runs.
func StillFailed(ctx context.Context, pool *pgxpool.Pool, groups []GroupID) ([]GroupID, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	var kinds, fingerprints []string
	for _, g := range groups {
		kinds, fingerprints = append(kinds, g.Kind), append(fingerprints, g.Fingerprint)
	}
	return query.Structs[GroupID](ctx, pool, "find failed runs of groups", stillFailedSQL, pgx.QueryExecModeCacheDescribe, kinds, fingerprints)
}

func (l List) manySQL() string {
	return `SELECT count(*) > $1 FROM (SELECT ` + l.many + ` LIMIT $1 + 1) r`
}

func (l List) newestSQL() string { return l.newest + fmt.Sprintf(" LIMIT %d", l.effort.newest) }

func (l List) sampleSQL() string {
	table, alias, _ := strings.Cut(l.table, " ")
	return `FROM (
    SELECT * FROM ` + table + ` TABLESAMPLE SYSTEM ($4::float4) WHERE ` + cmp.Or(l.within, "true") + ` AND random() < $5::float8 OFFSET 0
) ` + alias + ` ` + l.sample
}

// sampledTable is the name of the table without its alias.
func (l List) sampledTable() string { return strings.Fields(l.table)[0] }

// merge adds groups of the newest runs to those of a sample. Both count the same
// runs, so the larger number counts.
func merge(newest, sampled []Group) []Group {
	type key struct{ kind, fingerprint string }
	of := func(g Group) key { return key{g.Kind, g.Fingerprint} }
	at := map[key]int{}
	for i, g := range sampled {
		at[of(g)] = i
	}
	for _, n := range newest {
		i, known := at[of(n)]
		if !known {
			sampled = append(sampled, n)
			continue
		}
		g := &sampled[i]
		g.Runs, g.SucceededBefore = max(g.Runs, n.Runs), max(g.SucceededBefore, n.SucceededBefore)
		g.Dismissals = mergeDismissals(n.Dismissals, g.Dismissals)
		g.EventID, g.Error = max(g.EventID, n.EventID), max(g.Error, n.Error)
		if n.FirstAt.Before(g.FirstAt) {
			g.FirstAt = n.FirstAt
		}
		if n.LastAt.After(g.LastAt) {
			g.LastAt = n.LastAt
		}
		if g.NextAttempt == nil || n.NextAttempt != nil && n.NextAttempt.Before(*g.NextAttempt) {
			g.NextAttempt = n.NextAttempt
		}
	}
	slices.SortFunc(sampled, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return sampled
}

// mergeDismissals merges the reasons of the newest runs and of a sample.
func mergeDismissals(newest, sampled []Dismissal) []Dismissal {
	for _, n := range newest {
		i := slices.IndexFunc(sampled, func(d Dismissal) bool { return d.By == n.By && d.Reason == n.Reason })
		if i < 0 {
			sampled = append(sampled, n)
		} else {
			sampled[i].Runs = max(sampled[i].Runs, n.Runs)
		}
	}
	slices.SortFunc(sampled, func(a, b Dismissal) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), cmp.Compare(a.By, b.By), cmp.Compare(a.Reason, b.Reason))
	})
	return sampled[:min(len(sampled), maxDismissals)]
}
