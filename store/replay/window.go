package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// window is the part of a pass that a page goes through. It is bounded, so that a page
// takes about as long where no run matches.
type window struct {
	first, last int64    // ids of events
	until       [16]byte // event keys of runs are less
	end         bool     // the pass ends with this window
}

// runsInWindow returns how many runs a page goes through that takes at most limit. The
// pages that are taken at once share a window, so it has room for twice as many as they
// take. A slow order must not need a page for each few runs of which none match.
func runsInWindow(limit int) int { return max(2*sideBySide*limit, 10_000) }

// afterAllKeys is greater than the keys of all events, which are UUIDs of version 8.
func afterAllKeys() [16]byte { return [16]byte(slices.Repeat([]byte{0xff}, 16)) }

// windows returns the windows of at most n pages, each of at most limit runs, that
// follow a position. Windows of events are adjacent, whatever is removed meanwhile.
func (s *Store) windows(ctx context.Context, f Filter, jobs Jobs, from Position, limit, n int) ([]window, error) {
	switch f.Status {
	case Retrying, Unrecognized:
		return []window{{end: true}}, nil
	case Missing, Late:
		return s.eventWindows(ctx, f, jobs, from.id, limit, n)
	default:
		w, err := s.runWindow(ctx, f, from.key, limit)
		return slices.Repeat([]window{w}, n), err
	}
}

// These statements return the last id of the $2 events that follow id $1. Late events
// have an index of their own.
const (
	eventWindowSQL = `
SELECT max(id) FROM (SELECT id FROM lumin.events WHERE id > $1 ORDER BY id LIMIT $2) w`

	lateWindowSQL = `
SELECT max(id) FROM (SELECT id FROM lumin.events WHERE late AND id > $1 ORDER BY id LIMIT $2) w`
)

func (s *Store) eventWindows(ctx context.Context, f Filter, jobs Jobs, after int64, limit, n int) (windows []window, err error) {
	kinds, sql := len(f.Kinds), eventWindowSQL
	if f.Status == Late {
		sql = lateWindowSQL
	}
	if kinds == 0 {
		kinds = len(jobs.Specs)
	}
	for len(windows) < n {
		var last *int64
		if err := s.pool.QueryRow(ctx, sql, after, max(limit/max(kinds, 1), 1)).Scan(&last); err != nil {
			return nil, fmt.Errorf("find the next events: %w", err)
		}
		if last == nil {
			break
		}
		windows = append(windows, window{first: after + 1, last: *last})
		after = *last
	}
	if len(windows) == 0 {
		return []window{{end: true}}, nil
	}
	return windows, nil
}

// runWindow returns the window of runs from a key on. The runs of chosen events and
// signature requests are looked up, so they need no bound.
func (s *Store) runWindow(ctx context.Context, f Filter, from [16]byte, limit int) (window, error) {
	w := window{until: afterAllKeys(), end: true}
	if len(f.EventIDs)+len(f.SignatureRequestIDs) > 0 {
		return w, nil
	}
	size := cmp.Or(s.inWindow, runsInWindow(limit))
	// The plan depends on the table: see store.ListEvents.
	err := s.pool.QueryRow(ctx, runWindowSQL(f), pgx.QueryExecModeCacheDescribe, from, size).Scan(&w.until)
	if errors.Is(err, pgx.ErrNoRows) {
		return w, nil
	}
	if err != nil {
		return w, fmt.Errorf("find the next runs: %w", err)
	}
	w.end = false
	return w, nil
}

// runWindowSQL returns the key behind the next $2 runs. Failed and cancelled runs have
// indexes of their own.
func runWindowSQL(f Filter) string {
	state := ""
	if f.Status != Succeeded {
		state = `state = '` + f.Status.RunState() + `' AND `
	}
	return `SELECT event_key FROM lumin.runs WHERE ` + state + `event_key >= $1 ORDER BY event_key OFFSET $2 LIMIT 1`
}

// lookUp makes the statements after it look up the rows of a window one by one. The
// planner would rather read a whole table.
const lookUp = `SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off`

// noteLeft notes the job types of the runs that match and that this page could not
// take: another transaction has locked them, or this program does not know their
// kind. The statement finds them in the part of the pass that the page went through.
func (p *pager) noteLeft(ctx context.Context, sql string, args pgx.NamedArgs) error {
	if _, err := p.tx.Exec(ctx, lookUp); err != nil {
		return fmt.Errorf("look for runs that are left: %w", err)
	}
	kinds, err := query.Column[string](ctx, p.tx, "look for runs that are left", sql, pgx.QueryExecModeCacheDescribe, args)
	p.page.Next.left = union(p.page.Next.left, kinds)
	return err
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// These statements are those of a page, without locks and for all job types.
func runsLeftSQL(f Filter) string { return leftSQL("r.job_kind", f.runsInWindow()) }

func retryingLeftSQL(f Filter) string {
	return leftSQL("r.job_kind", f.retryingInWindow().and(`j.id <= @until`))
}

func missingLeftSQL(f Filter) string { return leftSQL("t.kind", f.missingInWindow()) }

func leftSQL(kind string, runs selection) string {
	return `SELECT DISTINCT ` + kind + "\n" + runs.SQL(0)
}
