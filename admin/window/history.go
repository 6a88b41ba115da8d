package window

import (
	"context"
	"time"

	"lumin-ingest/store/history"
)

// History is what happened in a stretch of time, in steps.
type History struct {
	From        time.Time       `json:"from"`
	To          time.Time       `json:"to"`
	StepSeconds int64           `json:"step_seconds"`
	Deliveries  []DeliveryPoint `json:"deliveries"`
	AnswerTimes []TimesPoint    `json:"answer_times"` // of verified deliveries
	Attempts    []AttemptPoint  `json:"attempts"`
	EffectTimes []TimesPoint    `json:"effect_times"` // from the receipt of an event to its effect
	WorkTimes   []TimesPoint    `json:"work_times"`   // of attempts
	Backlog     []BacklogPoint  `json:"backlog"`      // of all job types

	DeliveryTotals []DeliveryTotal `json:"delivery_totals"` // the most frequent first
	AttemptTotals  []AttemptTotal  `json:"attempt_totals"`
}

// DeliveryTotal counts the deliveries with one source, result and reason.
type DeliveryTotal struct {
	Source string `json:"source"`
	Result string `json:"result"`
	Reason string `json:"reason"` // the code of a response other than 200; otherwise empty
	Count  int64  `json:"count"`
}

// AttemptTotal counts the attempts of one job type with one outcome.
type AttemptTotal struct {
	Kind    string `json:"job_kind"`
	Outcome string `json:"outcome"`
	Count   int64  `json:"count"`
}

// BacklogPoint is the highest age of the oldest pending run in a step.
type BacklogPoint struct {
	At      time.Time `json:"at"`
	Seconds float64   `json:"oldest_pending_seconds"` // 0 if no run was pending
}

// DeliveryPoint counts the deliveries of a step with one result.
type DeliveryPoint struct {
	At     time.Time `json:"at"`
	Result string    `json:"result"`
	Count  int64     `json:"count"`
}

// AttemptPoint counts the attempts of a step of one job type with one outcome.
type AttemptPoint struct {
	At      time.Time `json:"at"`
	Kind    string    `json:"job_kind"`
	Outcome string    `json:"outcome"`
	Count   int64     `json:"count"`
}

// TimesPoint describes the durations of a step.
type TimesPoint struct {
	At    time.Time `json:"at"`
	Count int64     `json:"count"`
	Mean  float64   `json:"mean_seconds"`
	P50   float64   `json:"p50_seconds"`
	P99   float64   `json:"p99_seconds"`
}

// History returns what happened from one time to another: of one source and one job
// type, or of all if these are empty. Steps without anything have no point.
func (w *Window) History(ctx context.Context, from, to time.Time, source, kind string) (h History, err error) {
	r := history.NewRange(from, to)
	h = History{From: r.From, To: r.To, StepSeconds: int64(r.Step.Seconds())}
	deliveries, err := history.Deliveries(ctx, w.pool, r, source)
	if err != nil {
		return h, err
	}
	for _, p := range deliveries {
		h.Deliveries = append(h.Deliveries, DeliveryPoint{p.At, p.Result, p.Deliveries})
	}
	attempts, err := history.Attempts(ctx, w.pool, r, kind)
	if err != nil {
		return h, err
	}
	for _, p := range attempts {
		h.Attempts = append(h.Attempts, AttemptPoint{p.At, p.Kind, p.Outcome, p.Attempts})
	}
	answers, err := history.AnswerTimes(ctx, w.pool, r, source)
	if err != nil {
		return h, err
	}
	h.AnswerTimes = timesOf(answers)
	effects, err := history.EffectTimes(ctx, w.pool, r, kind)
	if err != nil {
		return h, err
	}
	h.EffectTimes = timesOf(effects)
	work, err := history.WorkTimes(ctx, w.pool, r, kind)
	if err != nil {
		return h, err
	}
	h.WorkTimes = timesOf(work)
	backlog, err := history.Backlog(ctx, w.pool, r)
	if err != nil {
		return h, err
	}
	for _, p := range backlog {
		h.Backlog = append(h.Backlog, BacklogPoint(p))
	}
	return h, w.addTotals(ctx, &h, r, source, kind)
}

// addTotals counts the deliveries and attempts of the whole range.
func (w *Window) addTotals(ctx context.Context, h *History, r history.Range, source, kind string) error {
	deliveries, err := history.DeliveryTotals(ctx, w.pool, r)
	if err != nil {
		return err
	}
	for _, t := range deliveries {
		if source == "" || t.Source == source {
			h.DeliveryTotals = append(h.DeliveryTotals, DeliveryTotal{t.Source, t.Result, t.Reason, t.Deliveries})
		}
	}
	attempts, err := history.AttemptTotals(ctx, w.pool, r)
	for _, t := range attempts {
		if kind == "" || t.Kind == kind {
			h.AttemptTotals = append(h.AttemptTotals, AttemptTotal{t.Kind, t.Outcome, t.Attempts})
		}
	}
	return err
}

func timesOf(points []history.TimesPoint) (times []TimesPoint) {
	for _, p := range points {
		times = append(times, TimesPoint{
			p.At, p.Times.Count(), p.Times.Mean().Seconds(), p.Times.Quantile(0.5).Seconds(), p.Times.Quantile(0.99).Seconds(),
		})
	}
	return times
}
