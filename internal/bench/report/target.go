package report

// Target is a limit for a figure, or for the ratio of two rows' figures.
type Target struct {
	ID       string  // such as P1
	Scenario string  // the scenario's id
	Metric   string  // the figure's name
	Of       string  // the row
	Against  string  // divide by this row's figure; "" means no division
	Than     string  // divide by this figure instead of the same one; "" means the same
	AtLeast  bool    // false: at most
	Limit    float64 //
}

// Outcome is what was measured for a target.
type Outcome struct {
	ID       string  `json:"id"`
	What     string  `json:"what"`
	Unit     string  `json:"unit"` // "×" for a ratio
	AtLeast  bool    `json:"at_least"`
	Limit    float64 `json:"limit"`
	Measured *Spread `json:"measured"` // null: not measured
	Met      bool    `json:"met"`
}

// Judge compares the result with targets. Targets of scenarios that did not run
// are left out.
func (r *Result) Judge(targets []Target) {
	for _, t := range targets {
		s := r.scenario(t.Scenario)
		if s == nil {
			continue
		}
		r.Targets = append(r.Targets, t.judge(s))
	}
}

func (t Target) judge(s *Scenario) Outcome {
	what := t.Metric + ", " + t.Of
	o := Outcome{ID: t.ID, AtLeast: t.AtLeast, Limit: t.Limit}
	of := s.row(t.Of).metric(t.Metric)
	if of != nil {
		o.Unit = of.Unit
	}
	var values []float64
	if t.Against == "" {
		if of != nil {
			values = of.Values
		}
	} else {
		o.Unit = "×"
		than := t.Metric
		if t.Than != "" {
			than = t.Than
		}
		what += " ÷ " + t.Against
		values = ratios(of, s.row(t.Against).metric(than))
	}
	o.What = what
	if len(values) == 0 {
		return o
	}
	measured := spread(values)
	o.Measured = &measured
	o.Met = measured.Median <= t.Limit
	if t.AtLeast {
		o.Met = measured.Median >= t.Limit
	}
	return o
}

// ratios divides the values of the same rounds.
func ratios(of, against *Metric) (values []float64) {
	if of == nil || against == nil {
		return nil
	}
	for i := range min(len(of.Values), len(against.Values)) {
		if against.Values[i] != 0 {
			values = append(values, of.Values[i]/against.Values[i])
		}
	}
	return values
}
