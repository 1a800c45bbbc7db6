package training

import (
	"bytes"
	_ "embed" // the page template
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"

	"ninox/training/plot"
)

//go:embed report.html.tmpl
var reportTemplate string

var reportPage = template.Must(template.New("report").Parse(reportTemplate))

// WriteReport writes one self-contained HTML page that compares runs: curves of
// accuracy and loss with the nowcasts marked, and the steps to common levels
// with the reduction against plain training. Further pictures come last.
func WriteReport(path string, runs []RunRecord, pictures ...plot.Picture) error {
	if len(runs) == 0 {
		return fmt.Errorf("report %s: no runs", path)
	}
	page := reportData(runs)
	for _, p := range pictures {
		page.Pictures = append(page.Pictures, reportPicture{p, template.HTML(p.SVG)})
	}
	var b bytes.Buffer
	if err := reportPage.Execute(&b, page); err != nil {
		return fmt.Errorf("report %s: %w", path, err)
	}
	return writeBytes(path, b.Bytes())
}

// WriteCurves writes the curves of the report as one SVG image.
func WriteCurves(path string, runs []RunRecord) error {
	if len(runs) == 0 {
		return fmt.Errorf("curves %s: no runs", path)
	}
	return writeAtomic(path, func(w io.Writer) error {
		_, err := io.WriteString(w, plot.Standalone(charts(runs), legend(runs)))
		return err
	})
}

type reportPageData struct {
	Title  string
	Lead   string
	Notes  []string
	Style  template.CSS
	Legend []plot.Entry
	Marked bool // nowcasts are marked in the charts
	Goal   bool // the first points at the target are marked
	Charts []reportChart
	Levels []string // headings of the level columns
	Rows   []reportRow
	Casts  []castRow

	Pictures []reportPicture
}

type reportPicture struct {
	plot.Picture
	Drawing template.HTML
}

type reportChart struct {
	Title string
	SVG   template.HTML
}

type reportRow struct {
	Color                              int
	Name                               string
	Seed                               uint64
	Steps, Accuracy, TestLoss, Seconds string
	Levels                             []levelCell
}

type levelCell struct{ Steps, Reduction string }

type castRow struct {
	Color                        int
	Name                         string
	Seed                         uint64
	Step, K                      string // K "–" where there was no nowcast
	Before, After, Time, Outcome string
}

func reportData(runs []RunRecord) reportPageData {
	p := reportPageData{Title: "Training report", Style: template.CSS(plot.Style), Legend: legend(runs)}
	if t := runs[0].Task; t != "" {
		p.Title = "Training report: " + t
	}
	for _, c := range charts(runs) {
		p.Charts = append(p.Charts, reportChart{c.Title, template.HTML(c.SVG())})
		p.Goal = p.Goal || len(c.Hits) > 0
	}
	levels := commonLevels(runs)
	p.Lead = lead(runs, levels)
	slices.Sort(levels)
	for _, v := range levels {
		p.Levels = append(p.Levels, "Steps to "+percent(v))
	}
	colors := runColors(runs)
	for i, r := range runs {
		if r.Note != "" && !slices.Contains(p.Notes, r.Note) {
			p.Notes = append(p.Notes, r.Note)
		}
		p.Rows = append(p.Rows, rowOf(runs, i, levels, colors[i]))
		for _, n := range r.Summary.Nowcasts {
			p.Marked = true
			p.Casts = append(p.Casts, castOf(r, n, colors[i]))
		}
	}
	return p
}

func rowOf(runs []RunRecord, i int, levels []float64, color int) reportRow {
	r := runs[i]
	s := r.Summary
	row := reportRow{
		Color: color, Name: r.shown(), Seed: s.Seed, Steps: plot.Thousands(s.Steps), Accuracy: "–", TestLoss: "–",
		Seconds: fmt.Sprintf("%.1f", s.WallSeconds),
	}
	if s.Final.Accuracy != nil {
		row.Accuracy = fmt.Sprintf("%.2f\u00a0%%", *s.Final.Accuracy)
	}
	if s.Final.Loss != nil {
		row.TestLoss = fmt.Sprintf("%.4f", *s.Final.Loss)
	}
	base := baselineOf(runs, i)
	for _, level := range levels {
		cell := levelCell{Steps: "not reached"}
		if n, ok := r.StepsTo(level); ok {
			cell.Steps = plot.Thousands(n)
			if b, ok := runs[base].StepsTo(level); ok && base != i && b > 0 {
				cell.Reduction = signedPercent(100 * (1 - float64(n)/float64(b)))
			}
		}
		row.Levels = append(row.Levels, cell)
	}
	return row
}

func castOf(r RunRecord, n Nowcast, color int) castRow {
	c := castRow{
		Color: color, Name: r.shown(), Seed: r.Summary.Seed, Step: plot.Thousands(n.Step), K: strconv.Itoa(n.K),
		Before: fmt.Sprintf("%.4f", n.LossBefore), After: "not finite", Time: fmt.Sprintf("%.2f", n.Seconds), Outcome: "kept",
	}
	if n.LossAfter != nil {
		c.After = fmt.Sprintf("%.4f", *n.LossAfter)
	}
	switch t := n.Trial; {
	case n.K == 0:
		c.K, c.After, c.Outcome = "–", "–", "none: "+n.Reason
	case !n.Accepted:
		c.Outcome = "undone: " + n.Reason
	case t != nil:
		c.Outcome = fmt.Sprintf("kept: loss on other minibatches %.4f → %.4f in %d steps", t.Before, t.After, t.Steps)
	}
	return c
}

// lead is the sentence at the top of the page: how the first method fares
// against plain training, over all seeds for which both reach a level.
func lead(runs []RunRecord, levels []float64) string {
	for _, level := range levels {
		if text := leadAt(runs, level); text != "" {
			return text
		}
	}
	r := runs[0]
	text := fmt.Sprintf("%s: %s steps in %.1f s", r.shown(), plot.Thousands(r.Summary.Steps), r.Summary.WallSeconds)
	if a := r.Summary.Final.Accuracy; a != nil {
		text += fmt.Sprintf(", %.2f\u00a0%% test accuracy at the end", *a)
	}
	return text + "."
}

// leadAt is the comparison at one level, "" where no pair of runs reaches it.
func leadAt(runs []RunRecord, level float64) string {
	name, base, pairs := "", "", 0
	var steps, baseSteps int
	for i, r := range runs {
		b := baselineOf(runs, i)
		if b == i || runs[b].Name == r.Name || name != "" && r.Name != name {
			continue
		}
		n, ok := r.StepsTo(level)
		m, okBase := runs[b].StepsTo(level)
		if !ok || !okBase || m == 0 {
			continue
		}
		name, base = r.Name, runs[b].shown()
		steps, baseSteps, pairs = steps+n, baseSteps+m, pairs+1
	}
	if pairs == 0 {
		return ""
	}
	over := ""
	if pairs > 1 {
		over = fmt.Sprintf(" (means of %d seeds)", pairs)
	}
	change := "as many steps"
	switch share := math.Round(100 * (1 - float64(steps)/float64(baseSteps))); {
	case share > 0:
		change = fmt.Sprintf("%.0f\u00a0%% fewer steps", share)
	case share < 0:
		change = fmt.Sprintf("%.0f\u00a0%% more steps", -share)
	}
	return fmt.Sprintf("%s reached %s test accuracy after %s steps, %s after %s%s: %s.",
		name, percent(level), plot.Thousands(steps/pairs), base, plot.Thousands(baseSteps/pairs), over, change)
}

// shown is the name of a run as readers see it.
func (r RunRecord) shown() string {
	if r.Name == "none" {
		return "plain training"
	}
	return r.Name
}

// percent is a level of accuracy, kept on one line.
func percent(v float64) string { return plot.Trim(v) + "\u00a0%" }

// StepsTo is the first evaluation at which the test accuracy is at least
// percent.
func (r RunRecord) StepsTo(percent float64) (int, bool) {
	for _, m := range r.Metrics {
		if m.EvalAccuracy != nil && *m.EvalAccuracy >= percent {
			return m.Step, true
		}
	}
	return 0, false
}

// best is the highest test accuracy of a run, 0 where it has none.
func (r RunRecord) best() float64 {
	best := 0.0
	for _, m := range r.Metrics {
		if m.EvalAccuracy != nil {
			best = max(best, *m.EvalAccuracy)
		}
	}
	return best
}

// commonLevels are the accuracies to compare runs at: their targets, then the
// best accuracy that all of them reach, and one point below that.
func commonLevels(runs []RunRecord) []float64 {
	common := math.Inf(1)
	var levels []float64
	for _, r := range runs {
		common = min(common, r.best())
		if s := r.Summary; s.Target != nil && s.TargetMetric == MetricAccuracy && !slices.Contains(levels, *s.Target) {
			levels = append(levels, *s.Target)
		}
	}
	if common <= 1 || len(runs) < 2 { // nothing to compare
		return levels
	}
	common = math.Floor(common*10) / 10
	for _, v := range []float64{common, common - 1} {
		if !slices.Contains(levels, v) {
			levels = append(levels, v)
		}
	}
	return levels
}

// baselineOf is the run that run i is compared with: plain training with the
// same seed, or else the first plain training, or else the first run.
func baselineOf(runs []RunRecord, i int) int {
	plain := func(r RunRecord) bool { return r.Summary.Method == "none" }
	same := slices.IndexFunc(runs, func(r RunRecord) bool { return plain(r) && r.Summary.Seed == runs[i].Summary.Seed })
	if same >= 0 {
		return same
	}
	return max(0, slices.IndexFunc(runs, plain))
}

// runColors numbers the names of the runs: runs of one name share a colour.
func runColors(runs []RunRecord) []int {
	var names []string
	out := make([]int, len(runs))
	for i, r := range runs {
		at := slices.Index(names, r.Name)
		if at < 0 {
			at = len(names)
			names = append(names, r.Name)
		}
		out[i] = at % plot.Colors
	}
	return out
}

func legend(runs []RunRecord) []plot.Entry {
	var out []plot.Entry
	for i, c := range runColors(runs) {
		e := plot.Entry{Name: runs[i].shown(), Color: c}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// signedPercent is a reduction for a table: "−46 %" for 46 % fewer steps.
func signedPercent(reduction float64) string {
	switch r := math.Round(reduction); {
	case r > 0:
		return fmt.Sprintf("−%.0f %%", r)
	case r < 0:
		return fmt.Sprintf("+%.0f %%", -r)
	}
	return "±0 %"
}
