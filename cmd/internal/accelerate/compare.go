package accelerate

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"ninox/onnxgraph"
	"ninox/training"
)

// Summary is the outcome of an acceleration: that of the accelerated run, with
// the baseline and the comparison beside it.
type Summary struct {
	training.Summary
	Baseline   *training.Summary `json:"baseline,omitempty"`
	Comparison *Comparison       `json:"comparison,omitempty"`
}

// Metrics that runs are compared by, in order of preference.
const (
	metricAccuracy  = "accuracy"   // on the test data, percent
	metricLoss      = "loss"       // on the test data
	metricTrainLoss = "train_loss" // mean of lossWindow steps, where there is no test data
)

// lossWindow is the number of steps over which the training loss is averaged.
const lossWindow = 50

// Comparison sets two runs side by side.
type Comparison struct {
	Metric string  `json:"metric"`
	Levels []Level `json:"levels"`
}

// Level is when two runs reached a level of the metric.
type Level struct {
	What             string   `json:"what"` // "target" or "best common"
	Value            float64  `json:"value"`
	Baseline         *Reach   `json:"baseline"` // null where it is not reached
	Accelerated      *Reach   `json:"accelerated"`
	ReductionPercent *float64 `json:"reduction_percent"` // of the steps; null unless both reach it
}

// Reach is the first time at which a run is at or beyond a level.
type Reach struct {
	Steps   int     `json:"steps"`
	Seconds float64 `json:"seconds"`
}

// point is a value of the metric after a step.
type point struct {
	Reach
	value float64
}

// Compare compares an accelerated run with its baseline: at the target, and at
// the best level that both reach.
func Compare(base, fast training.RunRecord) Comparison {
	c := Comparison{Metric: metricTrainLoss}
	b, f := seriesOf(base, c.Metric), seriesOf(fast, c.Metric)
	for _, m := range []string{metricAccuracy, metricLoss} {
		if x, y := seriesOf(base, m), seriesOf(fast, m); len(x) > 0 && len(y) > 0 {
			c.Metric, b, f = m, x, y
			break
		}
	}
	if t := fast.Summary.Target; t != nil && fast.Summary.TargetMetric == c.Metric {
		c.Levels = append(c.Levels, levelAt("target", *t, c.Metric, b, f))
	}
	if len(b) > 0 && len(f) > 0 {
		c.Levels = append(c.Levels, levelAt("best common", bestCommon(c.Metric, b, f), c.Metric, b, f))
	}
	return c
}

// seriesOf is the course of a metric in a run.
func seriesOf(r training.RunRecord, metric string) []point {
	var out []point
	sum := 0.0
	var window []float64
	for _, m := range r.Metrics {
		at := Reach{m.Step, m.Seconds}
		switch {
		case metric == metricAccuracy && m.EvalAccuracy != nil:
			out = append(out, point{at, *m.EvalAccuracy})
		case metric == metricLoss && m.EvalLoss != nil:
			out = append(out, point{at, *m.EvalLoss})
		case metric == metricTrainLoss && m.Loss != nil:
			window = append(window, *m.Loss)
			sum += *m.Loss
			if len(window) > lossWindow {
				sum -= window[0]
				window = window[1:]
			}
			if len(window) == lossWindow {
				out = append(out, point{at, sum / lossWindow})
			}
		}
	}
	return out
}

func beyond(metric string, value, level float64) bool {
	if metric == metricAccuracy {
		return value >= level
	}
	return value <= level
}

// bestCommon is the best level that both runs reach: accuracy rounded down to
// tenths of a percent, as the report has it, losses rounded up to thousandths.
func bestCommon(metric string, runs ...[]point) float64 {
	common := math.Inf(1)
	if metric != metricAccuracy {
		common = math.Inf(-1)
	}
	for _, r := range runs {
		best := r[0].value
		for _, p := range r {
			if beyond(metric, p.value, best) {
				best = p.value
			}
		}
		if beyond(metric, common, best) {
			common = best
		}
	}
	if metric == metricAccuracy {
		return math.Floor(common*10) / 10
	}
	return math.Ceil(common*1000) / 1000
}

func levelAt(what string, value float64, metric string, base, fast []point) Level {
	reach := func(run []point) *Reach {
		for _, p := range run {
			if beyond(metric, p.value, value) {
				return &p.Reach
			}
		}
		return nil
	}
	l := Level{What: what, Value: value, Baseline: reach(base), Accelerated: reach(fast)}
	if l.Baseline != nil && l.Accelerated != nil {
		percent := 100 * (1 - float64(l.Accelerated.Steps)/float64(l.Baseline.Steps))
		l.ReductionPercent = &percent
	}
	return l
}

// table is the result for people: a column per run.
func table(s Summary, runs []training.RunRecord) [][]string {
	head := []string{""}
	for _, r := range runs {
		head = append(head, r.Name)
	}
	rows := [][]string{head}
	if s.Comparison != nil {
		for _, l := range s.Comparison.Levels {
			rows = append(rows, levelRows(s.Comparison.Metric, l)...)
		}
	}
	row := func(name string, cell func(s training.Summary) string) {
		out := []string{name}
		for _, r := range runs {
			out = append(out, cell(r.Summary))
		}
		rows = append(rows, out)
	}
	if s.Final.Accuracy != nil {
		row("final accuracy", func(s training.Summary) string { return number(s.Final.Accuracy, "%.2f %%") })
	}
	if s.Final.Loss != nil {
		row("final test loss", func(s training.Summary) string { return number(s.Final.Loss, "%.4f") })
	}
	row("final training loss", func(s training.Summary) string { return number(&s.Final.TrainLoss, "%.4f") })
	row("steps", func(s training.Summary) string { return fmt.Sprint(s.Steps) })
	row("seconds", func(s training.Summary) string { return number(&s.WallSeconds, "%.1f") })
	if len(s.Nowcasts) > 0 {
		row("nowcasts kept", func(s training.Summary) string {
			if len(s.Nowcasts) == 0 {
				return "–"
			}
			kept := 0
			for _, n := range s.Nowcasts {
				if n.Accepted {
					kept++
				}
			}
			return fmt.Sprintf("%d of %d", kept, len(s.Nowcasts))
		})
	}
	return rows
}

// levelRows are the steps and the seconds to a level.
func levelRows(metric string, l Level) [][]string {
	name := map[string]string{metricAccuracy: "%.1f %% accuracy", metricLoss: "test loss %.3f", metricTrainLoss: "training loss %.3f"}[metric]
	name = fmt.Sprintf(name, l.Value)
	if l.What == "target" {
		name += " (target)"
	}
	steps, seconds := []string{"steps to " + name}, []string{"seconds to " + name}
	for _, r := range []*Reach{l.Baseline, l.Accelerated} {
		if r == nil {
			steps, seconds = append(steps, "not reached"), append(seconds, "–")
			continue
		}
		steps, seconds = append(steps, fmt.Sprint(r.Steps)), append(seconds, fmt.Sprintf("%.1f", r.Seconds))
	}
	if l.ReductionPercent != nil {
		change := fmt.Sprintf("(%+.0f %%)", -*l.ReductionPercent)
		if change == "(-0 %)" || change == "(+0 %)" {
			change = "(±0 %)"
		}
		steps = append(steps, change)
	}
	return [][]string{steps, seconds}
}

func number(v *float64, format string) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf(format, *v)
}

// writeSummary replaces summary.json of the run by the joint one.
func writeSummary(path string, s Summary) error {
	return onnxgraph.WriteAtomic(path, true, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	})
}
