//go:build unix

package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The gauges of a program that must not grow.
const (
	goroutines  = "go_goroutines"
	descriptors = "process_open_fds"
	memory      = "process_resident_memory_bytes"
)

// vitals returns the gauges of a program, from its metrics.
func (p *program) vitals(ctx context.Context) (map[string]float64, error) {
	address := p.admin()
	if address == "" {
		return nil, errors.New("it has not logged its address")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := p.health.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	found := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name != goroutines && name != descriptors && name != memory {
			continue
		}
		if found[name], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
	}
	return found, lines.Err()
}

// warmUp sends events so fast that all clients and pools open their connections.
func (s *scene) warmUp(ctx context.Context) error {
	s.clients.rate.Store(500)
	defer s.clients.rate.Store(int64(s.cfg.Rate))
	if err := s.acknowledged(ctx, 500); err != nil {
		return err
	}
	s.clients.rate.Store(int64(s.cfg.Rate))
	pause(ctx, 5*time.Second)
	return nil
}

// calm returns the median gauges of all programs over a few seconds.
func (s *scene) calm(ctx context.Context) map[string]float64 {
	all := newVitalSigns(s.programs)
	for range 15 {
		all.sample(ctx)
		pause(ctx, 200*time.Millisecond)
	}
	found := map[string]float64{}
	for _, gauge := range []string{goroutines, descriptors, memory} {
		for n := range s.programs {
			if values := all.between(func(one vitalSample) bool { return one.program == n }, gauge, time.Time{}, time.Now()); len(values) > 0 {
				found[s.programs[n].name+" "+gauge] = median(values)
			}
		}
	}
	return found
}

// back waits until the gauges are back to where they were, and reports them.
// Memory is a mere figure: the Go runtime returns it to the system later.
func (s *scene) back(ctx context.Context, before map[string]float64) {
	var now map[string]float64
	for start := time.Now(); ; {
		now = s.calm(ctx)
		above := false
		for name, value := range now {
			above = above || !strings.HasSuffix(name, memory) && value > allowed(before[name])
		}
		if !above || time.Since(start) > time.Minute || ctx.Err() != nil {
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		s.out.figure(name+" before", before[name], "")
		if strings.HasSuffix(name, memory) {
			s.out.figure(name+" afterwards", now[name], "")
		} else {
			s.atMost(name+" afterwards", now[name], allowed(before[name]), "")
		}
	}
}

// allowed returns how large a gauge may be that was of a size before.
func allowed(before float64) float64 { return max(1.2*before, before+10) }

// vitalSigns are samples of the gauges of all programs.
type vitalSigns struct {
	programs []*program

	mu      sync.Mutex
	samples []vitalSample
}

type vitalSample struct {
	at      time.Time
	program int
	role    string
	gauges  map[string]float64
}

func newVitalSigns(programs []*program) *vitalSigns { return &vitalSigns{programs: programs} }

// sample takes one sample of each program that answers.
func (v *vitalSigns) sample(ctx context.Context) {
	for n, p := range v.programs {
		gauges, err := p.vitals(ctx)
		if err != nil || len(gauges) == 0 {
			continue // it is being restarted
		}
		v.mu.Lock()
		v.samples = append(v.samples, vitalSample{time.Now(), n, p.currentRole(), gauges})
		v.mu.Unlock()
	}
}

// every takes samples until ctx ends.
func (v *vitalSigns) every(ctx context.Context, interval time.Duration) {
	for ctx.Err() == nil {
		v.sample(ctx)
		pause(ctx, interval)
	}
}

// between returns the sorted values of a gauge in a period, of the samples that
// are chosen.
func (v *vitalSigns) between(chosen func(vitalSample) bool, gauge string, from, to time.Time) []float64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	var values []float64
	for _, one := range v.samples {
		if value, found := one.gauges[gauge]; found && chosen(one) && !one.at.Before(from) && !one.at.After(to) {
			values = append(values, value)
		}
	}
	slices.Sort(values)
	return values
}

// flatFrom is the shortest period in which a gauge must be flat. In a shorter one
// a single outage, after which all clients connect at once, decides.
const flatFrom = 10 * time.Minute

// enoughSamples is how many samples a sixth of a period needs.
const enoughSamples = 5

// flat compares the medians of two sixths of a period for each role: the faults
// change the roles of the programs. They are the first and the last sixth in which
// the role was sampled often enough, without the first one, in which the programs
// start. A role without two such sixths that are apart is left out. A period shorter
// than flatFrom may lack all.
func (s *scene) flat(v *vitalSigns, from, to time.Time) {
	names, compared := [6]string{"first", "second", "third", "fourth", "fifth", "last"}, 0
	for _, role := range []string{"all", "ingest", "worker"} {
		for _, gauge := range []string{goroutines, descriptors, memory} {
			sixths := v.sixths(role, gauge, from, to)
			early, late := enough(sixths)
			if late-early < 2 {
				continue
			}
			compared++
			name, unit, scale := "role "+role+": "+gauge, "", 1.0
			if gauge == memory {
				name, unit, scale = "role "+role+": resident memory", "MiB", 1<<20
			}
			before, after := median(sixths[early])/scale, median(sixths[late])/scale
			s.out.figure(name+", "+names[early]+" sixth", before, unit)
			name += ", " + names[late] + " sixth"
			if to.Sub(from) < flatFrom {
				s.out.figure(name, after, unit)
			} else {
				s.atMost(name, after, allowed(before), unit)
			}
		}
	}
	if compared == 0 && to.Sub(from) >= flatFrom {
		s.problem("no role was sampled often enough in two sixths that are apart")
	}
}

// sixths returns the sorted values of a gauge in each sixth of a period.
func (v *vitalSigns) sixths(role, gauge string, from, to time.Time) (values [6][]float64) {
	of := func(one vitalSample) bool { return one.role == role }
	length := to.Sub(from) / 6
	for n := range values {
		values[n] = v.between(of, gauge, from.Add(time.Duration(n)*length), from.Add(time.Duration(n+1)*length))
	}
	return values
}

// enough returns the first and the last sixth with enough samples, without the
// very first. They are the same if there is only one, or none.
func enough(sixths [6][]float64) (early, late int) {
	for n := 1; n < len(sixths); n++ {
		if len(sixths[n]) < enoughSamples {
			continue
		}
		if early == 0 {
			early = n
		}
		late = n
	}
	return early, late
}
