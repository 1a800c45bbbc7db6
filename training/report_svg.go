package training

import (
	"fmt"

	"ninox/training/plot"
)

// logThreshold is the largest by the smallest value from which a loss is drawn
// on a logarithmic axis.
const logThreshold = 8

// charts are the diagrams of a report: test accuracy where there is one, test
// loss otherwise, and the training loss.
func charts(runs []RunRecord) []plot.Chart {
	accuracy := plot.Chart{Title: "Test accuracy", Unit: " %", X: "training step"}
	testLoss := plot.Chart{Title: "Test loss", X: "training step"}
	loss := plot.Chart{Title: "Training loss", X: "training step"}
	colors := runColors(runs)
	for i, r := range runs {
		var acc, test, train []plot.Point
		for _, m := range r.Metrics {
			x := float64(m.Step)
			if m.EvalAccuracy != nil {
				acc = append(acc, plot.Point{X: x, Y: *m.EvalAccuracy})
			}
			if m.EvalLoss != nil {
				test = append(test, plot.Point{X: x, Y: *m.EvalLoss})
			}
			if m.Loss != nil {
				train = append(train, plot.Point{X: x, Y: *m.Loss})
			}
		}
		many := 0
		for _, other := range runs {
			if other.Name == r.Name {
				many++
			}
		}
		for _, d := range []struct {
			chart  *plot.Chart
			points []plot.Point
		}{{&accuracy, acc}, {&testLoss, test}, {&loss, train}} {
			d.chart.Last = max(d.chart.Last, r.Summary.Steps)
			d.chart.Add(plot.Curve{Name: r.shown(), Color: colors[i], Many: many > 1, Points: d.points})
			for _, n := range r.Summary.Nowcasts {
				d.chart.Marks = append(d.chart.Marks, markOf(n, colors[i]))
			}
		}
		if s := r.Summary; s.Target != nil && s.TargetMetric == MetricAccuracy {
			accuracy.Goal = s.Target
			if p, ok := plot.FirstAtLeast(acc, *s.Target); ok {
				accuracy.Hits = append(accuracy.Hits, plot.Hit{Color: colors[i], Point: p, Text: fmt.Sprintf("target reached at step %.0f", p.X)})
			}
		}
	}
	var out []plot.Chart
	if len(accuracy.Curves) > 0 {
		out = append(out, accuracy)
	} else if len(testLoss.Curves) > 0 {
		out = append(out, testLoss)
	}
	if len(loss.Curves) > 0 {
		lo, hi := loss.Range()
		loss.Log = lo > 0 && hi/lo > logThreshold
		if len(loss.Curves[0].Points) >= plot.MaxPoints {
			loss.Title += " (averaged)"
		}
		out = append(out, loss)
	}
	return out
}

// markOf is a nowcast in a diagram.
func markOf(n Nowcast, color int) plot.Mark {
	what := "kept"
	if n.K == 0 {
		what = "not made"
	} else if !n.Accepted {
		what = "undone"
	}
	return plot.Mark{
		Color: color, X: float64(n.Step), Open: !n.Accepted,
		Text: fmt.Sprintf("step %d: nowcast, horizon %d, %s", n.Step, n.K, what),
	}
}
