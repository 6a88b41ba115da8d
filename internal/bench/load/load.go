package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Main runs the load that the argument describes in JSON, and writes its report
// to out. It is the whole of the load's process.
func Main(ctx context.Context, argument string, in io.Reader, out io.Writer) error {
	var cfg Config
	if err := json.Unmarshal([]byte(argument), &cfg); err != nil {
		return fmt.Errorf("read the description of the load: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if cfg.UntilClosed {
		go func() {
			_, _ = io.Copy(io.Discard, in)
			cancel()
		}()
	}
	report, err := Run(ctx, cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(report)
}

// sender is one connection, or one caller, with what it has measured.
type sender struct {
	post      func(body []byte) (status int, err error)
	took      []time.Duration
	answers   map[int]int
	failed    int
	err       error // the first failure
	answered  []Answer
	keepTimes bool
}

// Run runs a load. When ctx ends, it waits for the open answers.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Connections < 1 || (cfg.Count == 0 && cfg.Seconds == 0 && !cfg.UntilClosed) {
		return Report{}, errors.New("a load needs connections, and a count or a time")
	}
	posts := make([]func([]byte) (int, error), cfg.Connections)
	for i := range posts {
		c, err := newClient(cfg.URL, cfg.Secret)
		if err != nil {
			return Report{}, err
		}
		defer c.close()
		posts[i] = c.post
	}
	return drive(ctx, cfg, posts), nil
}

// drive lets one sender per function send deliveries.
func drive(ctx context.Context, cfg Config, posts []func(body []byte) (status int, err error)) Report {
	if cfg.Seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cfg.Seconds*float64(time.Second)))
		defer cancel()
	}
	senders := make([]*sender, len(posts))
	for i, post := range posts {
		senders[i] = &sender{post: post, answers: map[int]int{}, keepTimes: cfg.Times}
	}
	start := time.Now()
	next := closedLoop(ctx, cfg)
	if cfg.Rate > 0 {
		next = openLoop(ctx, cfg, start)
	}
	made := newBodies(cfg.Series, cfg.Base)
	var group sync.WaitGroup
	for _, s := range senders {
		group.Go(func() { s.run(cfg, made, next) })
	}
	group.Wait()
	return summarize(cfg, senders, time.Since(start))
}

// turn returns the number of the next delivery and the time when it is due. It
// returns false at the end of the load.
type turn func() (n int, due time.Time, more bool)

func closedLoop(ctx context.Context, cfg Config) turn {
	var counter atomic.Int64
	return func() (int, time.Time, bool) {
		n := int(counter.Add(1)) - 1
		if ctx.Err() != nil || (cfg.Count > 0 && n >= cfg.Count) {
			return 0, time.Time{}, false
		}
		return n, time.Now(), true
	}
}

func openLoop(ctx context.Context, cfg Config, start time.Time) turn {
	closed := closedLoop(ctx, cfg)
	return func() (int, time.Time, bool) {
		n, _, more := closed()
		if !more {
			return 0, time.Time{}, false
		}
		due := start.Add(time.Duration(float64(n) / cfg.Rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			return 0, time.Time{}, false
		case <-time.After(time.Until(due)):
			return n, due, true
		}
	}
}

func (s *sender) run(cfg Config, made bodies, next turn) {
	var body []byte
	for {
		n, due, more := next()
		if !more {
			return
		}
		if cfg.Distinct > 0 {
			n %= cfg.Distinct
		}
		body = made.body(body, n)
		status, err := s.post(body)
		if err != nil {
			s.failed++
			if s.err == nil {
				s.err = err
			}
			continue
		}
		now := time.Now()
		s.took = append(s.took, now.Sub(due))
		s.answers[status]++
		if s.keepTimes && status == http.StatusOK {
			s.answered = append(s.answered, Answer{made.id(n), now})
		}
	}
}

func summarize(cfg Config, senders []*sender, length time.Duration) Report {
	r := Report{Answers: map[int]int{}, Seconds: length.Seconds()}
	var took []time.Duration
	for _, s := range senders {
		took = append(took, s.took...)
		r.Failed += s.failed
		if s.err != nil && r.FirstError == "" {
			r.FirstError = s.err.Error()
		}
		for status, count := range s.answers {
			r.Answers[status] += count
		}
		r.Answered = append(r.Answered, s.answered...)
	}
	r.Sent = len(took) + r.Failed
	r.Events = r.Answers[http.StatusOK]
	if cfg.Distinct > 0 {
		r.Events = min(r.Events, cfg.Distinct)
	}
	slices.Sort(took)
	r.P50, r.P99, r.Max = percentile(took, 0.5), percentile(took, 0.99), percentile(took, 1)
	return r
}

// percentile returns a percentile of sorted durations, in milliseconds: the
// smallest duration that is at least as long as this share of all.
func percentile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(share * float64(len(sorted))))
	return float64(sorted[max(rank, 1)-1]) / float64(time.Millisecond)
}
