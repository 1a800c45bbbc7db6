package bench

import (
	"fmt"
	"regexp"
	"strconv"
)

// Run is one training of the comparison.
type Run struct {
	Task   string  `json:"task"`
	Method string  `json:"method"`
	LR     float64 `json:"lr"`
	Seed   uint64  `json:"seed"`
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9.+=-]+`)

// ID is the run's folder below the bench's, with slashes: "fm-16/nino/lr-0.006-seed-1".
func (r Run) ID() string {
	name := func(s string) string { return notInNames.ReplaceAllString(s, "_") }
	return fmt.Sprintf("%s/%s/lr-%s-seed-%d", name(r.Task), name(r.Method), strconv.FormatFloat(r.LR, 'g', 6, 64), r.Seed)
}

// Rates are the learning rates by task and method.
type Rates map[string]map[string]float64

// rate is the learning rate of a method before the search.
func (t Task) rate(m Method) float64 {
	if m.LR > 0 {
		return m.LR
	}
	return t.LR
}

// searched are the methods whose learning rates are searched for.
func (p *Protocol) searched() []Method {
	switch p.Tune {
	case TuneBase:
		return p.Methods[:1]
	case TuneEach:
		return p.Methods
	}
	return nil
}

// TuningRuns are the runs of the search.
func (p *Protocol) TuningRuns() []Run {
	var out []Run
	for _, t := range p.Tasks {
		for _, m := range p.searched() {
			for _, f := range p.Grid {
				out = append(out, Run{t.Name, m.Name, round(f * t.rate(m)), p.TuningSeed})
			}
		}
	}
	return out
}

// round keeps six digits, those that name a run.
func round(v float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		return v
	}
	return r
}

// ChooseRates takes the rates whose runs have the best metric; of equal ones
// the first of the grid. It is an error where every rate diverges.
func (p *Protocol) ChooseRates(outcomes map[Run]*Outcome) (Rates, error) {
	rates := Rates{}
	for _, t := range p.Tasks {
		rates[t.Name] = map[string]float64{}
		for _, m := range p.searched() {
			found := false
			var best float64
			for _, f := range p.Grid {
				r := Run{t.Name, m.Name, round(f * t.rate(m)), p.TuningSeed}
				o := outcomes[r]
				if o == nil {
					return nil, fmt.Errorf("run %s of the search is missing", r.ID())
				}
				if v, ok := o.best(t.Metric); ok && (!found || better(t.Metric, v, best)) {
					best, found, rates[t.Name][m.Name] = v, true, r.LR
				}
			}
			if !found {
				return nil, fmt.Errorf("task %s, method %s: no learning rate of the search gives a finite result; choose another --grid", t.Name, m.Name)
			}
		}
		for _, m := range p.Methods {
			if _, done := rates[t.Name][m.Name]; done {
				continue
			}
			rates[t.Name][m.Name] = round(t.rate(m))
			if base, ok := rates[t.Name][p.Base().Name]; ok && m.LR == 0 {
				rates[t.Name][m.Name] = base
			}
		}
	}
	return rates, nil
}

// Runs are the runs that are compared, seed by seed.
func (p *Protocol) Runs(rates Rates) []Run {
	var out []Run
	for _, seed := range p.Seeds {
		for _, t := range p.Tasks {
			for _, m := range p.Methods {
				out = append(out, Run{t.Name, m.Name, rates[t.Name][m.Name], seed})
			}
		}
	}
	return out
}
