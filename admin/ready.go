package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/errtext"
)

// probeTimeout limits each check of /readyz. The checks run concurrently, so
// this also limits the whole response.
const probeTimeout = 3 * time.Second

// probeGrace gives a probe time to return after its timeout, so that its error
// can say where it was waiting.
const probeGrace = 200 * time.Millisecond

// Check is one condition that the program needs in order to work.
type Check struct {
	Name string

	// Probe returns nil if the condition holds. Otherwise it returns an error
	// that explains the problem to an engineer. It must respect its context,
	// which ends after 3 s, and must be safe for concurrent use.
	Probe func(context.Context) error
}

// readiness answers /readyz.
type readiness struct {
	checks   []Check
	sources  func() []SourceLine
	warnings func() []string
	logger   *slog.Logger

	mu           sync.Mutex
	lastFailed   string // names of the failed checks in the previous response
	lastWarnings string // warnings in the previous response
	answered     bool   // at least once
}

// readyBody is the body of /readyz.
type readyBody struct {
	Status   string       `json:"status"` // "ready" or "not_ready"
	Checks   []checkBody  `json:"checks"`
	Sources  []sourceBody `json:"sources"`
	Warnings []string     `json:"warnings,omitempty"`
}

type checkBody struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

type sourceBody struct {
	Source          string     `json:"source"`
	LastVerified    *time.Time `json:"last_verified"` // null: no verified delivery is known
	MismatchesSince int64      `json:"mismatches_since_verified"`
}

func (r *readiness) answer(c echo.Context) error {
	body := readyBody{Status: "ready", Checks: r.check(c.Request().Context()), Sources: []sourceBody{}}
	status := http.StatusOK
	for _, check := range body.Checks {
		if !check.OK {
			body.Status, status = "not_ready", http.StatusServiceUnavailable
		}
	}
	if r.sources != nil {
		for _, line := range r.sources() {
			body.Sources = append(body.Sources, sourceBodyOf(line))
		}
	}
	if r.warnings != nil {
		body.Warnings = r.warnings()
	}
	if c.Request().Context().Err() == nil { // if the caller left, failed checks mean nothing
		r.log(body.Checks)
		r.logWarnings(body.Warnings)
	}
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(status, body)
}

// check runs all checks concurrently. The results are in the order of the
// checks.
func (r *readiness) check(ctx context.Context) []checkBody {
	results := make([]checkBody, len(r.checks))
	var running sync.WaitGroup
	for i, check := range r.checks {
		running.Go(func() {
			results[i] = checkBody{Name: check.Name, OK: true}
			if err := r.run(ctx, check); err != nil {
				results[i] = checkBody{Name: check.Name, Error: errtext.Plain(err.Error())}
			}
		})
	}
	running.Wait()
	return results
}

// run runs one probe. It gives up probeGrace after the timeout if the probe has
// not returned.
func (r *readiness) run(ctx context.Context, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				logPanic(r.logger, v)
				result <- errors.New("the check panicked; see the log for details")
			}
		}()
		result <- check.Probe(ctx)
	}()
	select {
	case err := <-result:
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no answer within %v: %s", probeTimeout, strings.TrimSuffix(err.Error(), ": "+context.DeadlineExceeded.Error()))
		}
		return err
	case <-time.After(probeTimeout + probeGrace):
		return fmt.Errorf("no answer within %v", probeTimeout)
	}
}

// log logs only changes in which checks fail. Monitoring systems call /readyz
// every few seconds.
func (r *readiness) log(checks []checkBody) {
	var names, reasons []string
	for _, check := range checks {
		if !check.OK {
			names, reasons = append(names, check.Name), append(reasons, check.Name+": "+check.Error)
		}
	}
	failed := strings.Join(names, ",")

	r.mu.Lock()
	changed := !r.answered || failed != r.lastFailed
	r.answered, r.lastFailed = true, failed
	r.mu.Unlock()

	switch {
	case !changed:
	case failed == "":
		r.logger.Info("ready")
	default:
		r.logger.Warn("not ready", "failed", reasons)
	}
}

// logWarnings logs warnings only when they change.
func (r *readiness) logWarnings(warnings []string) {
	text := strings.Join(warnings, "; ")
	r.mu.Lock()
	changed := text != r.lastWarnings
	r.lastWarnings = text
	r.mu.Unlock()

	switch {
	case !changed:
	case text == "":
		r.logger.Info("no more warnings")
	default:
		r.logger.Warn("ready, with warnings", "warnings", warnings)
	}
}

func sourceBodyOf(line SourceLine) sourceBody {
	body := sourceBody{Source: line.Source, MismatchesSince: line.MismatchesSince}
	if !line.LastVerified.IsZero() {
		at := line.LastVerified.UTC()
		body.LastVerified = &at
	}
	return body
}
