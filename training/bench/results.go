package bench

import (
	"fmt"
	"math"

	"ninox/training"
)

// Results is what a bench came to, as results.json has it.
type Results struct {
	Tasks    []TaskResult `json:"tasks"`
	Averages []Average    `json:"averages"` // of the methods but the base, over all tasks
}

// TaskResult is the comparison on one task.
type TaskResult struct {
	Task    string         `json:"task"`
	Metric  string         `json:"metric"`
	Target  float64        `json:"target"`
	Search  []Searched     `json:"search,omitempty"`
	Methods []MethodResult `json:"methods"` // in the order of the protocol
}

// Searched is a run of the search for a learning rate.
type Searched struct {
	Run
	Best   Number `json:"best"` // of the metric; null where it diverged
	Chosen bool   `json:"chosen"`
}

// MethodResult is how a method fares on a task.
type MethodResult struct {
	Method    string       `json:"method"`
	LR        float64      `json:"lr"`
	Seeds     []SeedResult `json:"seeds"`
	Reached   int          `json:"reached"`   // seeds that reach the target
	Median    Cost         `json:"median"`    // to the target, over seeds
	Reduction Interval     `json:"reduction"` // percent of the base's steps
	Paired    Interval     `json:"paired"`    // steps less than the base's
	Best      Number       `json:"best"`      // median over seeds of the best value
	Overhead  Overhead     `json:"overhead"`
}

// SeedResult is one run.
type SeedResult struct {
	Seed     uint64 `json:"seed"`
	Cost     Cost   `json:"cost"` // to the target
	Best     Number `json:"best"`
	Diverged bool   `json:"diverged,omitempty"`
}

// Overhead is what a method costs beside the steps: medians over seeds.
type Overhead struct {
	StepMilliseconds    Number `json:"step_milliseconds"`
	NowcastMilliseconds Number `json:"nowcast_milliseconds"` // of one; null without
	Percent             Number `json:"percent"`              // of the run's time that nowcasts take
	PeakBytes           int64  `json:"peak_bytes"`           // of the process's memory, the most of all seeds
	Kept                int    `json:"kept"`                 // nowcasts over all seeds
	Nowcasts            int    `json:"nowcasts"`
}

// Average is the mean over tasks of a method's reductions.
type Average struct {
	Method    string   `json:"method"`
	Reduction Interval `json:"reduction"`
}

// Evaluate computes the results. outcomes holds all runs of the protocol, those
// of the search among them.
func Evaluate(p *Protocol, rates Rates, outcomes map[Run]*Outcome) (*Results, error) {
	res := &Results{}
	steps := map[string][][]float64{} // by method, then task and seed
	for _, t := range p.Tasks {
		runs := map[string][]*Outcome{}
		for _, m := range p.Methods {
			for _, seed := range p.Seeds {
				r := Run{t.Name, m.Name, rates[t.Name][m.Name], seed}
				o := outcomes[r]
				if o == nil {
					return nil, fmt.Errorf("run %s is missing", r.ID())
				}
				runs[m.Name] = append(runs[m.Name], o)
			}
		}
		target, ok := p.target(t, runs[p.Base().Name])
		if !ok {
			return nil, fmt.Errorf("task %s: the base diverges at learning rate %v, so there is no target; choose a --grid of lower rates", t.Name, rates[t.Name][p.Base().Name])
		}
		tr := TaskResult{Task: t.Name, Metric: t.Metric, Target: target}
		tr.Search = p.search(t, rates, outcomes)
		base := stepsTo(t, target, runs[p.Base().Name])
		for _, m := range p.Methods {
			r := methodResult(t, target, runs[m.Name])
			own := stepsTo(t, target, runs[m.Name])
			r.Reduction, r.Paired = compare(own, base, p.Level), pairedDifference(own, base, p.Level)
			tr.Methods = append(tr.Methods, r)
			steps[m.Name] = append(steps[m.Name], own)
		}
		res.Tasks = append(res.Tasks, tr)
	}
	for _, m := range p.Methods[1:] {
		res.Averages = append(res.Averages, Average{m.Name, average(steps[m.Name], steps[p.Base().Name], p.Level)})
	}
	return res, nil
}

// search are the runs of the search on one task.
func (p *Protocol) search(t Task, rates Rates, outcomes map[Run]*Outcome) []Searched {
	var out []Searched
	for _, r := range p.TuningRuns() {
		if r.Task != t.Name {
			continue
		}
		s := Searched{Run: r, Best: Number(math.NaN()), Chosen: r.LR == rates[t.Name][r.Method]}
		if v, ok := outcomes[r].best(t.Metric); ok {
			s.Best = Number(v)
		}
		out = append(out, s)
	}
	return out
}

func methodResult(t Task, target float64, runs []*Outcome) MethodResult {
	r := MethodResult{Method: runs[0].Method, LR: runs[0].LR}
	var steps, seconds, bytes, best []float64
	for _, o := range runs {
		s := SeedResult{Seed: o.Seed, Cost: o.cost(t, target), Best: Number(math.NaN()), Diverged: o.Diverged}
		if v, ok := o.best(t.Metric); ok {
			s.Best = Number(v)
			best = append(best, v)
		}
		if s.Cost.Steps.finite() {
			r.Reached++
		}
		steps = append(steps, float64(s.Cost.Steps))
		seconds = append(seconds, float64(s.Cost.Seconds))
		bytes = append(bytes, float64(s.Cost.Bytes))
		r.Seeds = append(r.Seeds, s)
	}
	r.Median = Cost{Number(median(steps)), Number(median(seconds)), Number(median(bytes))}
	r.Best = Number(median(best))
	r.Overhead = overheadOf(runs)
	return r
}

// stepsTo are the steps to the target, run by run.
func stepsTo(t Task, target float64, runs []*Outcome) []float64 {
	out := make([]float64, len(runs))
	for i, o := range runs {
		out[i] = float64(o.cost(t, target).Steps)
	}
	return out
}

func overheadOf(runs []*Outcome) Overhead {
	var o Overhead
	var step, each, share []float64
	for _, r := range runs {
		o.PeakBytes = max(o.PeakBytes, r.PeakBytes)
		s := r.Record.Summary
		if s.StepMilliseconds > 0 {
			step = append(step, s.StepMilliseconds)
		}
		total := nowcastSeconds(s)
		o.Nowcasts += len(s.Nowcasts)
		for _, n := range s.Nowcasts {
			if n.Accepted {
				o.Kept++
			}
		}
		if len(s.Nowcasts) > 0 {
			each = append(each, 1000*total/float64(len(s.Nowcasts)))
		}
		if s.WallSeconds > 0 {
			share = append(share, 100*total/s.WallSeconds)
		}
	}
	o.StepMilliseconds, o.NowcastMilliseconds, o.Percent = Number(median(step)), Number(median(each)), Number(median(share))
	return o
}

func nowcastSeconds(s training.Summary) float64 {
	sum := 0.0
	for _, n := range s.Nowcasts {
		sum += n.Seconds
	}
	return sum
}
