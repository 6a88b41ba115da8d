package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Jobs describes the jobs that a program can create for an order.
type Jobs struct {
	Specs     map[string]store.JobSpec // by kind
	Route     func(source string, event lumin.EventType) []store.JobSpec
	Elsewhere []string // kinds that only other running programs know

	// Ordered are the kinds whose runs become pending in the order of their
	// events, so that those of one signature request can be worked in order.
	Ordered []string
}

// Position is the progress of a pass over the runs of an order. It only saves
// time, because the state of a run shows whether the order has taken it. A pass
// from the zero Position finds every remaining run.
type Position struct {
	key   [16]byte // of the last run
	id    int64    // of the last event or job
	found bool     // whether this pass has made a run pending
	left  []string // kinds of the runs that this pass could not take

	// About other orders that are cancelled: see lookAtCancelled and noteStarted.
	begun    bool  // restored is known
	restored int64 // the runs that they had restored when this pass began
	started  bool  // this pass has met runs that a later one has started
}

// Page is the result of one page.
type Page struct {
	Enqueued  int
	Next      Position
	Exhausted bool // no run remains: the order needs no further page

	// Wait means that a whole pass took no run although some remain. Another
	// transaction has locked them, another program knows their kind, or an order that
	// was cancelled is restoring them.
	Wait bool

	ended bool // the pass has ended with this page
}

const (
	// pageRuns is how many runs one transaction makes pending. With this many,
	// the disk flush of its commit matters little.
	pageRuns = 20_000

	// sideBySide is how many pages of runs are taken at once. The database uses
	// one core for each.
	sideBySide = 2
)

// TakePage makes the next runs of an order pending, with a job each, in one
// transaction or a few. It takes at most limit runs; 0 means the best size. It
// acts only on the job types in jobs.
//
// It may be stopped at any time and called again, from the zero Position or any
// that it returned, and by several callers at once. If the order has ended, it
// changes nothing and returns Exhausted.
func (s *Store) TakePage(ctx context.Context, order Order, jobs Jobs, from Position, limit int) (Page, error) {
	if limit <= 0 || limit > pageRuns {
		limit = pageRuns
	}
	windows, err := s.windows(ctx, order.Filter, jobs, from, limit, pagers(order.Filter, jobs, limit))
	if err != nil {
		return Page{}, fmt.Errorf("take a page of replay %d: %w", order.ID, err)
	}
	var (
		pages = make([]Page, len(windows))
		errs  = make([]error, len(windows))
		all   sync.WaitGroup
	)
	for i, w := range windows {
		p := &pager{store: s, order: order, jobs: jobs, from: from, limit: limit, window: w}
		all.Go(func() { pages[i], errs[i] = p.run(ctx) })
	}
	all.Wait()
	return merge(pages), errors.Join(errs...)
}

// pagers returns the number of pages of at most limit runs that are taken at once.
func pagers(f Filter, jobs Jobs, limit int) int {
	if limit < pageRuns || f.Status == Retrying || f.Status == Unrecognized || slices.ContainsFunc(jobs.Ordered, f.takesKind) {
		return 1
	}
	return sideBySide
}

// takesKind reports whether the filter accepts runs of a kind.
func (f Filter) takesKind(kind string) bool {
	return len(f.Kinds) == 0 || slices.Contains(f.Kinds, kind)
}

// merge combines several pages that started at the same position. Pages of runs
// may overlap, so the next ones start where the first of them ended. Pages of
// events are adjacent. At the end of a pass all start again.
func merge(pages []Page) Page {
	all := pages[0]
	for _, page := range pages[1:] {
		all.Enqueued += page.Enqueued
		all.Exhausted = all.Exhausted || page.Exhausted
		all.Wait = all.Wait || page.Wait
		all.ended = all.ended || page.ended
		all.Next.found = all.Next.found || page.Next.found
		all.Next.id = max(all.Next.id, page.Next.id)
		all.Next.left = union(all.Next.left, page.Next.left)
		all.Next.restored = min(all.Next.restored, page.Next.restored)
		all.Next.started = all.Next.started || page.Next.started
		if bytes.Compare(page.Next.key[:], all.Next.key[:]) < 0 {
			all.Next.key = page.Next.key
		}
	}
	all.Wait = all.Wait && all.Enqueued == 0
	if all.ended {
		all.Next = Position{}
	}
	return all
}

// pager takes one page in one transaction.
type pager struct {
	store *Store
	order Order
	jobs  Jobs
	from  Position
	limit int // runs

	window    window
	tx        pgx.Tx
	restoring bool // a cancelled order has restored runs during this pass, or is doing so
	page      Page // the result so far
}

func (p *pager) run(ctx context.Context) (Page, error) {
	err := pgx.BeginTxFunc(ctx, p.store.pool, query.ReadCommitted, func(tx pgx.Tx) error {
		p.tx = tx
		return p.take(ctx)
	})
	if errors.Is(err, ErrEnded) {
		return Page{Exhausted: true}, nil
	}
	return p.page, err
}

func (p *pager) take(ctx context.Context) error {
	if err := p.checkOpen(ctx); err != nil {
		return err
	}
	p.page.Next.left, p.page.Next.started = p.from.left, p.from.started
	if err := p.lookAtCancelled(ctx); err != nil {
		return err
	}
	end, err := p.enqueue(ctx)
	if err != nil {
		return fmt.Errorf("take a page of replay %d: %w", p.order.ID, err)
	}
	p.page.Next.found = p.from.found || p.page.Enqueued > 0
	note := ""
	if end {
		note = p.endPass()
	}
	return p.count(ctx, note)
}

// checkOpen returns ErrEnded if the order needs no further page.
func (p *pager) checkOpen(ctx context.Context) error {
	var open bool
	err := p.tx.QueryRow(ctx, `SELECT state = 'running' AND enqueued_at IS NULL FROM lumin.replays WHERE id = $1`, p.order.ID).Scan(&open)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("replay %d: %w", p.order.ID, store.ErrNotFound)
	case err != nil:
		return fmt.Errorf("check replay %d: %w", p.order.ID, err)
	case !open:
		return ErrEnded
	}
	return nil
}

// enqueue makes the runs of the page pending. It reports whether the pass has
// come to its end.
func (p *pager) enqueue(ctx context.Context) (end bool, err error) {
	switch p.order.Filter.Status {
	case Missing, Late:
		return p.enqueueMissing(ctx)
	case Retrying:
		return p.enqueueRetrying(ctx)
	case Unrecognized:
		return p.enqueueUnrecognized(ctx)
	default:
		return p.enqueueRuns(ctx)
	}
}

// endPass decides what follows a whole pass: another pass, a wait, or the end
// of the order. The order ends if each page has left no run that it may take, and no
// cancelled order has restored runs meanwhile. note lists the runs that the order excludes.
func (p *pager) endPass() (note string) {
	pass := p.page.Next
	p.page.Next, p.page.ended = Position{}, true
	var (
		rest    = p.order.Filter.Status == Unrecognized && pass.found || p.restoring
		unknown []string
	)
	for _, kind := range pass.left {
		if _, known := p.jobs.Specs[kind]; known || slices.Contains(p.jobs.Elsewhere, kind) {
			rest = true
		} else {
			unknown = append(unknown, kind)
		}
	}
	// Another program may have taken the runs of an unknown kind during this pass, and
	// ended. Only a pass that found nothing says that they are left.
	rest = rest || len(unknown) > 0 && pass.found
	p.page.Wait, p.page.Exhausted = rest && !pass.found, !rest
	if !p.page.Exhausted {
		return ""
	}
	var notes []string
	if pass.started {
		notes = append(notes, "runs were skipped because a later replay, which was cancelled, had started them: order them again")
	}
	if len(unknown) > 0 {
		notes = append(notes, fmt.Sprintf("runs were skipped because no running program knows their job types: %q", unknown))
	}
	return strings.Join(notes, "; ")
}

// count adds the page to its order. It fails if the order has ended meanwhile,
// so that the page is rolled back. A later cancel waits for the page. A page
// that changed nothing writes nothing.
func (p *pager) count(ctx context.Context, note string) error {
	if p.page.Enqueued == 0 && !p.page.Exhausted {
		return nil
	}
	tag, err := p.tx.Exec(ctx, `
		UPDATE lumin.replays SET enqueued = enqueued + $2, error = coalesce(nullif($4, ''), error),
		    enqueued_at = CASE WHEN $3 THEN now() END
		WHERE id = $1 AND state = 'running' AND enqueued_at IS NULL`, p.order.ID, p.page.Enqueued, p.page.Exhausted, note)
	if err != nil {
		return fmt.Errorf("count a page of replay %d: %w", p.order.ID, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrEnded
	}
	return nil
}
