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
	h.EffectTimes = timesOf(effects)
	return h, err
}

func timesOf(points []history.TimesPoint) (times []TimesPoint) {
	for _, p := range points {
		times = append(times, TimesPoint{
			p.At, p.Times.Count(), p.Times.Mean().Seconds(), p.Times.Quantile(0.5).Seconds(), p.Times.Quantile(0.99).Seconds(),
		})
	}
	return times
}
