package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
)

// dashboardsRow is the row with ten open dashboards.
const dashboardsRow = "ours, ten dashboards"

// dashboardScenario measures what open dashboards cost the recording of deliveries.
func dashboardScenario() scenario {
	return scenario{
		id: "p13", title: "P13: ten open dashboards",
		note: "As P3. In every other turn, ten browsers show pages of the dashboard, and ask for them again as its script does. " +
			"The CPU time per event includes theirs.",
		run: func(ctx context.Context, b *bench, s *report.Scenario) error {
			closed, open := b.plain(), b.plain()
			open.name, open.uncounted, closed.uncounted = dashboardsRow, true, true
			open.turn = withDashboards
			return b.round(ctx, s, []*contestant{closed, open}, func(ctx context.Context, st *stage) error { return st.record(ctx, connections) })
		},
	}
}

// openPage is a page in one browser, and how often the script asks for it: the
// shortest data-live of its regions.
type openPage struct {
	path  string
	every time.Duration
}

// openPages are the pages of ten browsers. Most people leave the overview open.
func openPages() []openPage {
	return []openPage{
		{"/", 5 * time.Second}, {"/", 5 * time.Second}, {"/?range=hour", 5 * time.Second}, {"/?range=week", 5 * time.Second},
		{"/failures", 10 * time.Second}, {"/events", 10 * time.Second}, {"/lanes", 5 * time.Second},
		{"/queues", 5 * time.Second}, {"/job-types", 5 * time.Second}, {"/events/1", 2 * time.Second},
	}
}

// withDashboards is record, with open dashboards.
func withDashboards(ctx context.Context, s *stage) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	if _, err := s.closedLoop(ctx, p, connections, s.seconds*warmUp); err != nil {
		return err
	}
	end := openDashboards(ctx, strings.TrimSuffix(p.ready, "/readyz"))
	err = s.measureLoad(ctx, p, load.Config{Connections: connections, Seconds: s.seconds})
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	return s.verify(ctx, false)
}

// openDashboards opens the pages. The returned function closes them, and returns the
// errors of pages that did not answer.
func openDashboards(ctx context.Context, base string) (end func() error) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		browsers sync.WaitGroup
		mu       sync.Mutex
		failed   []error
	)
	pages := openPages()
	for i, page := range pages {
		browsers.Go(func() {
			// The browsers were not opened at the same moment.
			wait := page.every * time.Duration(i) / time.Duration(len(pages))
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
				if err := show(ctx, base+page.path); err != nil && ctx.Err() == nil {
					mu.Lock()
					failed = append(failed, fmt.Errorf("page %s: %w", page.path, err))
					mu.Unlock()
				}
				wait = page.every
			}
		})
	}
	return func() error {
		cancel()
		browsers.Wait()
		return errors.Join(failed...)
	}
}

// show gets a page as the script does.
func show(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/html")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}
