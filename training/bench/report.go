package bench

import (
	"bytes"
	_ "embed" // the page template
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"

	"ninox/onnxgraph"
	"ninox/training"
	"ninox/training/plot"
)

//go:embed report.html.tmpl
var pageText string

var page = template.Must(template.New("bench").Parse(pageText))

type pageData struct {
	Style    template.CSS
	Lead     string
	Against  []string // what did not help
	Protocol *Protocol
	Methods  []plot.Entry
	Tables   []table
	Curves   []pagePicture
	Pictures []pagePicture
	Notes    []string
}

type pagePicture struct {
	plot.Picture
	Drawing template.HTML
}

// WriteReport writes one self-contained HTML page of the results.
func WriteReport(path string, p *Protocol, res *Results, outcomes map[Run]*Outcome, pictures []plot.Picture) error {
	d := pageData{
		Style: template.CSS(plot.Style), Lead: lead(p, res), Against: against(p, res), Protocol: p, Tables: tables(p, res), Notes: p.LeftOut,
	}
	for i, m := range p.Methods {
		d.Methods = append(d.Methods, plot.Entry{Name: m.Title(), Color: i % plot.Colors})
	}
	for k := range p.Tasks {
		c := curves(p, k, res.Tasks[k], outcomes)
		d.Curves = append(d.Curves, pagePicture{plot.Picture{Title: c.Title}, template.HTML(c.SVG())})
	}
	for _, pic := range pictures {
		d.Pictures = append(d.Pictures, pagePicture{pic, template.HTML(pic.SVG)})
	}
	var b bytes.Buffer
	if err := page.Execute(&b, d); err != nil {
		return fmt.Errorf("report %s: %w", path, err)
	}
	return onnxgraph.WriteAtomic(path, true, func(w io.Writer) error {
		_, err := w.Write(b.Bytes())
		return err
	})
}

// lead is the result in a sentence: that of the method that does best on
// average.
func lead(p *Protocol, res *Results) string {
	best := -1
	for i, a := range res.Averages {
		if a.Reduction.Value.finite() && (best < 0 || a.Reduction.Value > res.Averages[best].Reduction.Value) {
			best = i
		}
	}
	over := fmt.Sprintf("%d tasks, %d seeds each", len(p.Tasks), len(p.Seeds))
	if len(p.Tasks) == 1 {
		over = fmt.Sprintf("%s, %d seeds", p.Tasks[0].Title, len(p.Seeds))
	}
	if best < 0 {
		return fmt.Sprintf("No method reaches the target of plain training on every task (%s).", over)
	}
	r := res.Averages[best].Reduction
	name := p.titleOf(res.Averages[best].Method)
	span := fmt.Sprintf("(%g %% interval %s to %s; %s)", 100*p.Level, figure(float64(r.Low)), figure(float64(r.High)), over)
	switch {
	case r.Value < 0:
		return fmt.Sprintf("No method is faster than plain training on average; the best, %s, needs %s %% more steps %s.", name, figure(-float64(r.Value)), span)
	case r.Low > 0:
		return fmt.Sprintf("%s reaches the target of plain training in %s %% fewer steps on average %s.", name, figure(float64(r.Value)), span)
	}
	return fmt.Sprintf("%s reaches the target of plain training in %s %% fewer steps on average, but with these seeds that is not beyond doubt %s.", name, figure(float64(r.Value)), span)
}

// against says plainly what did not help, one sentence per method and task.
func against(p *Protocol, res *Results) []string {
	var out []string
	for k, task := range p.Tasks {
		for i, r := range res.Tasks[k].Methods {
			what := ""
			switch v := r.Reduction; {
			case i == 0 || math.IsNaN(float64(v.Value)):
			case math.IsInf(float64(v.Value), -1):
				what = fmt.Sprintf("misses the target with %d of %d seeds", len(r.Seeds)-r.Reached, len(r.Seeds))
			case v.High < 0:
				what = fmt.Sprintf("needs %s %% more steps", figure(-float64(v.Value)))
			case v.Low <= 0:
				what = fmt.Sprintf("makes no clear difference (%s)", intervalText(v))
			}
			if what != "" {
				out = append(out, fmt.Sprintf("%s: %s %s.", task.Title, p.titleOf(r.Method), what))
			}
		}
	}
	return out
}

// curvesFrom is the share of a run before which its curve is not drawn: the
// first steep rise would hide the rest.
const curvesFrom = 0.05

// curves is the course of a task's metric: for each method the median over
// seeds.
func curves(p *Protocol, k int, res TaskResult, outcomes map[Run]*Outcome) plot.Chart {
	t := p.Tasks[k]
	c := plot.Chart{Title: t.Title + ": test loss, medians over seeds", X: "training step", Last: t.Steps, Goal: &res.Target}
	if t.Metric == training.MetricAccuracy {
		c.Title, c.Unit = t.Title+": test accuracy, medians over seeds", " %"
	}
	for i, m := range res.Methods {
		points := medianCurve(t, p.outcomesOf(t.Name, m, outcomes))
		c.Add(plot.Curve{Name: p.titleOf(m.Method), Color: i % plot.Colors, Dashed: i >= plot.Colors, Points: points})
		if m.Median.Steps.finite() {
			c.Hits = append(c.Hits, plot.Hit{
				Color: i % plot.Colors, Point: plot.Point{X: float64(m.Median.Steps), Y: res.Target},
				Text: fmt.Sprintf("%s: target reached at step %s (median)", p.titleOf(m.Method), stepsText(m.Median.Steps)),
			})
		}
	}
	return c
}

// outcomesOf are a method's runs on a task, seed by seed.
func (p *Protocol) outcomesOf(task string, m MethodResult, outcomes map[Run]*Outcome) []*Outcome {
	var out []*Outcome
	for _, s := range p.Seeds {
		out = append(out, outcomes[Run{task, m.Method, m.LR, s}])
	}
	return out
}

// medianCurve is the median of a metric over runs at the steps that most of
// them have.
func medianCurve(t Task, runs []*Outcome) []plot.Point {
	at := map[int][]float64{}
	var steps []int
	for _, o := range runs {
		o.evaluations(t.Metric, func(m training.Metric, v float64) bool {
			if float64(m.Step) < curvesFrom*float64(t.Steps) {
				return true
			}
			if at[m.Step] == nil {
				steps = append(steps, m.Step)
			}
			at[m.Step] = append(at[m.Step], v)
			return true
		})
	}
	var out []plot.Point
	for _, s := range slices.Sorted(slices.Values(steps)) {
		if 2*len(at[s]) > len(runs) {
			out = append(out, plot.Point{X: float64(s), Y: median(at[s])})
		}
	}
	return out
}
