package bench

import (
	"math"

	"ninox/training"
)

// Outcome is what a run came to.
type Outcome struct {
	Run
	Diverged  bool
	Record    training.RunRecord // of what a diverged run has, only its metrics
	PeakBytes int64              // of the process's memory, 0 where it is not known
}

// evaluations calls f with every finite value of a metric until f returns false.
func (o *Outcome) evaluations(metric string, f func(m training.Metric, value float64) bool) {
	for _, m := range o.Record.Metrics {
		v := m.EvalLoss
		if metric == training.MetricAccuracy {
			v = m.EvalAccuracy
		}
		if v != nil && !math.IsNaN(*v) && !math.IsInf(*v, 0) && !f(m, *v) {
			return
		}
	}
}

// better says whether value a of a metric is better than b.
func better(metric string, a, b float64) bool {
	if metric == training.MetricAccuracy {
		return a > b
	}
	return a < b
}

// best is the best value of a metric; false where the run diverged or was never
// evaluated.
func (o *Outcome) best(metric string) (best float64, ok bool) {
	if o.Diverged {
		return 0, false
	}
	o.evaluations(metric, func(_ training.Metric, v float64) bool {
		if !ok || better(metric, v, best) {
			best, ok = v, true
		}
		return true
	})
	return best, ok
}

// Cost is what it took to get to a target; infinite where a run missed it.
type Cost struct {
	Steps   Number `json:"steps"`
	Seconds Number `json:"seconds"`
	Bytes   Number `json:"bytes"` // of samples read
}

var missed = Cost{Number(math.Inf(1)), Number(math.Inf(1)), Number(math.Inf(1))}

// cost is what it took to reach a level of the task's metric. A run that
// diverges after it has got there has still got there.
func (o *Outcome) cost(t Task, target float64) Cost {
	c := missed
	o.evaluations(t.Metric, func(m training.Metric, v float64) bool {
		if better(t.Metric, target, v) {
			return true
		}
		c = Cost{Number(m.Step), Number(m.Seconds), Number(int64(m.Step) * t.BatchBytes)}
		return false
	})
	return c
}

// target is the level that a task's methods are compared at. base are the runs
// of the base.
func (p *Protocol) target(t Task, base []*Outcome) (float64, bool) {
	if p.Target == TargetPaper {
		return *t.PaperTarget, true
	}
	var level float64
	for i, o := range base {
		v, ok := o.best(t.Metric)
		if !ok {
			return 0, false
		}
		if i == 0 || better(t.Metric, level, v) {
			level = v
		}
	}
	return level, len(base) > 0
}
