package pages

import (
	"context"
	"math"
	"time"

	"lumin-ingest/store/history"
)

// past are the pictures of one range of time.
type past struct {
	Deliveries, Attempts, Answers, Effects, Backlog chart
	Delivered                                       int64
	Refused                                         int64
	Answer, Effect                                  history.Times
	Sparks                                          map[string]spark // by job type

	Totals    []history.DeliveryTotal // the most frequent first
	TotalsCut int                     // rows that are not listed
}

// totalsShown is how many rows the table of deliveries has.
const totalsShown = 50

// ranges are the ranges to choose from, with the length of their steps.
func ranges() []pastRange {
	return []pastRange{
		{"hour", "Hour", time.Hour, time.Minute},
		{"day", "Day", 24 * time.Hour, time.Hour},
		{"week", "Week", 7 * 24 * time.Hour, 6 * time.Hour},
		{"month", "Month", 30 * 24 * time.Hour, 24 * time.Hour},
	}
}

type pastRange struct {
	Name, Text   string
	length, step time.Duration
}

// rangeOf returns a range by its name; the day for an unknown one.
func rangeOf(name string) pastRange {
	for _, r := range ranges() {
		if r.Name == name {
			return r
		}
	}
	return ranges()[1]
}

// at returns the steps up to a time.
func (r pastRange) at(now time.Time) history.Range {
	to := now.UTC().Truncate(r.step).Add(r.step)
	return history.Range{From: to.Add(-r.length), To: to, Step: r.step}
}

// readPast reads the history of a range.
func (p *Pages) readPast(ctx context.Context, name string) (all past, err error) {
	now, err := p.cfg.Store.Now(ctx)
	if err != nil {
		return all, err
	}
	r, pool := rangeOf(name).at(now), p.cfg.Store.Pool()
	f := frame{step: r.Step}
	for i := range r.Steps() {
		f.starts = append(f.starts, r.Start(i))
	}
	if err := all.readDeliveries(ctx, p, f, r); err != nil {
		return all, err
	}
	if err := all.readAttempts(ctx, p, f, r); err != nil {
		return all, err
	}
	answers, err := history.AnswerTimes(ctx, pool, r, "")
	if err != nil {
		return all, err
	}
	all.Answers, all.Answer = timesChart(f, r, "answers", "Time to answer a delivery", answers)
	effects, err := history.EffectTimes(ctx, pool, r, "")
	if err != nil {
		return all, err
	}
	all.Effects, all.Effect = timesChart(f, r, "effects", "Time from receipt to effect", effects)
	backlog, err := history.Backlog(ctx, pool, r)
	if err != nil {
		return all, err
	}
	oldest := series{"oldest pending run", "busy", none(r.Steps())}
	for _, point := range backlog {
		put(oldest.Values, r.Index(point.At), point.Seconds)
	}
	all.Backlog = f.lines("backlog", "Age of the oldest pending run", []series{oldest})
	return all, nil
}

// deliveryResults are the results of deliveries with the tones of their bars. The last
// one stands for unknown results, too.
func deliveryResults() [][2]string {
	return [][2]string{
		{"recorded", "ok"}, {"duplicate", "busy"}, {"unrecognized", "warn"}, {"late", "warn hollow"}, {"refused", "bad"}, {"unavailable", "wait"},
	}
}

// attemptOutcomes are the outcomes of attempts with the tones of their bars.
func attemptOutcomes() [][2]string {
	return [][2]string{
		{"succeeded", "ok"}, {"retried", "warn"}, {"failed", "bad"}, {"cancelled", "idle"}, {"snoozed", "busy"}, {"parked", "wait"}, {"others", "idle hollow"},
	}
}

// readDeliveries reads the deliveries by result.
func (all *past) readDeliveries(ctx context.Context, p *Pages, f frame, r history.Range) error {
	points, err := history.Deliveries(ctx, p.cfg.Store.Pool(), r, "")
	if err != nil {
		return err
	}
	shown := byName(r.Steps(), deliveryResults())
	for _, point := range points {
		add(shown, point.Result, r.Index(point.At), point.Deliveries)
		all.Delivered += point.Deliveries
		if point.Result == "refused" || point.Result == "unavailable" {
			all.Refused += point.Deliveries
		}
	}
	all.Deliveries = f.bars("deliveries", "Deliveries by result", "deliveries", used(shown))
	totals, err := history.DeliveryTotals(ctx, p.cfg.Store.Pool(), r)
	all.Totals = totals[:min(len(totals), totalsShown)]
	all.TotalsCut = len(totals) - len(all.Totals)
	return err
}

// readAttempts reads the attempts by outcome, and those of each job type.
func (all *past) readAttempts(ctx context.Context, p *Pages, f frame, r history.Range) error {
	points, err := history.Attempts(ctx, p.cfg.Store.Pool(), r, "")
	if err != nil {
		return err
	}
	shown := byName(r.Steps(), attemptOutcomes())
	attempts, failed := map[string][]float64{}, map[string][]float64{}
	for _, point := range points {
		i := r.Index(point.At)
		add(shown, point.Outcome, i, point.Attempts)
		if attempts[point.Kind] == nil {
			attempts[point.Kind], failed[point.Kind] = make([]float64, r.Steps()), make([]float64, r.Steps())
		}
		if i < 0 || i >= r.Steps() {
			continue
		}
		attempts[point.Kind][i] += float64(point.Attempts)
		if point.Outcome == "retried" || point.Outcome == "failed" {
			failed[point.Kind][i] += float64(point.Attempts)
		}
	}
	all.Attempts = f.bars("attempts", "Attempts by outcome", "attempts", used(shown))
	all.Sparks = map[string]spark{}
	for kind := range attempts {
		all.Sparks[kind] = sparkOf(attempts[kind], failed[kind])
	}
	return nil
}

// byName makes series of names and tones.
func byName(steps int, names [][2]string) (all []series) {
	for _, name := range names {
		all = append(all, series{name[0], name[1], make([]float64, steps)})
	}
	return all
}

// add adds to a step of the series of a name, or of the last series.
func add(all []series, name string, step int, n int64) {
	at := &all[len(all)-1]
	for i := range all {
		if all[i].Name == name {
			at = &all[i]
			break
		}
	}
	if step >= 0 && step < len(at.Values) {
		at.Values[step] += float64(n)
	}
}

// used returns the series that have a value.
func used(all []series) (some []series) {
	for _, s := range all {
		for _, v := range s.Values {
			if v > 0 {
				some = append(some, s)
				break
			}
		}
	}
	return some
}

// none is a series without values.
func none(steps int) []float64 {
	values := make([]float64, steps)
	for i := range values {
		values[i] = math.NaN()
	}
	return values
}

func put(values []float64, step int, v float64) {
	if step >= 0 && step < len(values) {
		values[step] = v
	}
}

// timesChart draws the median and the 99th percentile.
func timesChart(f frame, r history.Range, id, title string, points []history.TimesPoint) (chart, history.Times) {
	var sum history.Times
	half, most := series{"median", "busy", none(r.Steps())}, series{"99 % are faster", "warn", none(r.Steps())}
	for _, point := range points {
		if point.Times.Count() == 0 {
			continue
		}
		sum.Add(point.Times)
		i := r.Index(point.At)
		put(half.Values, i, point.Times.Quantile(0.5).Seconds())
		put(most.Values, i, point.Times.Quantile(0.99).Seconds())
	}
	return f.lines(id, title, []series{half, most}), sum
}
