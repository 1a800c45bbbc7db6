package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"ninox/training"
)

// table is one table of the results, for Markdown and for the page.
type table struct {
	Title string
	Head  []string
	Rows  []row
	Notes []string
}

// row is a line of a table; the paper's figures stand in muted ones below ours.
type row struct {
	Cells []string
	Muted bool
}

func (t *table) add(muted bool, cells ...string) { t.Rows = append(t.Rows, row{cells, muted}) }

const none = "–"

// tables are all tables of the results, those of the paper first.
func tables(p *Protocol, res *Results) []table {
	out := []table{reductions(p, res), targets(p, res), costs(p, res), overheads(p, res)}
	if p.Tune != TuneNone {
		out = append(out, searched(p, res))
	}
	return out
}

// Title is what a method is called: as in the paper where it is there, with its
// flags.
func (m Method) Title() string {
	name, flags, _ := strings.Cut(m.Name, ":")
	if t, ok := paperNames[name]; ok {
		name = t
	}
	if name == paperNames[BaseMethod] {
		name = "plain"
	}
	if flags != "" {
		name += ", " + strings.ReplaceAll(flags, ":", ", ")
	}
	return name
}

// reductions has the layout of the paper's table 2.
func reductions(p *Protocol, res *Results) table {
	t := table{Title: "Fewer steps to the target than plain training, percent", Head: []string{""}}
	for _, k := range p.Tasks {
		t.Head = append(t.Head, k.Title)
	}
	t.Head = append(t.Head, "Avg speed up")
	for i, m := range p.Methods {
		if i == 0 {
			continue
		}
		ours, paper := []string{m.Title()}, []string{"paper"}
		for k, task := range p.Tasks {
			r := res.Tasks[k].Methods[i]
			ours = append(ours, reductionText(r.Reduction, r.Reached, len(p.Seeds)))
			paper = append(paper, figure(paperFigure(paperReductions, m.Name, task.Name)))
		}
		ours = append(ours, intervalText(res.Averages[i-1].Reduction))
		t.add(false, ours...)
		if known(paper) {
			t.add(true, append(paper, figure(paperAverage(m.Name, p.Tasks)))...)
		}
	}
	t.Notes = append(t.Notes, fmt.Sprintf("In brackets the %g %% bootstrap interval over %d seeds%s. “missed”: the median over seeds does not reach the target, which counts as infinitely many steps.", 100*p.Level, len(p.Seeds), caution(len(p.Seeds))))
	if differ := otherData(p); len(differ) > 0 {
		t.Notes = append(t.Notes, "The paper's figures are for other data on: "+strings.Join(differ, "; ")+". Steps, period and target differ from the paper's as the table below says.")
	}
	return t
}

// known says whether a row has anything but its name.
func known(cells []string) bool {
	return slices.ContainsFunc(cells[1:], func(c string) bool { return c != none })
}

// caution says what few seeds do to an interval.
func caution(seeds int) string {
	if seeds > 4 {
		return ""
	}
	return ", which with so few seeds is their range and holds the truth less often than it says"
}

// otherData lists the tasks whose data are not the paper's.
func otherData(p *Protocol) []string {
	var out []string
	for _, t := range p.Tasks {
		if !t.PaperData && !math.IsNaN(paperFigure(paperReductions, "nino", t.Name)) {
			note := t.Note
			if note == "" {
				note = t.Data
			}
			out = append(out, t.Title+" ("+note+")")
		}
	}
	return out
}

// targets has the layout of the paper's table 1.
func targets(p *Protocol, res *Results) table {
	t := table{Title: "Tasks, targets and steps", Head: []string{""}}
	rows := []struct {
		name string
		cell func(k Task, r TaskResult) string
	}{
		{"#params", func(k Task, _ TaskResult) string { return parameters(k.Parameters) }},
		{"data", func(k Task, _ TaskResult) string { return dataText(k) }},
		{"steps, period", func(k Task, _ TaskResult) string { return fmt.Sprintf("%d, %d", k.Steps, k.Period) }},
		{"learning rate", func(_ Task, r TaskResult) string { return fmt.Sprintf("%g", r.Methods[0].LR) }},
		{"target metric", func(k Task, _ TaskResult) string { return metricName(k) }},
		{"target value", func(k Task, r TaskResult) string { return valueText(k, r.Target) }},
		{"paper: target value", func(k Task, _ TaskResult) string {
			if k.PaperTarget == nil {
				return none
			}
			return valueText(k, *k.PaperTarget)
		}},
	}
	for _, k := range p.Tasks {
		t.Head = append(t.Head, k.Title)
	}
	for _, r := range rows {
		cells := []string{r.name}
		for i, k := range p.Tasks {
			cells = append(cells, r.cell(k, res.Tasks[i]))
		}
		if paper := strings.HasPrefix(r.name, "paper"); !paper || known(cells) {
			t.add(paper, cells...)
		}
	}
	for i, m := range p.Methods {
		ours, paper := []string{m.Title() + " #steps"}, []string{"paper: " + paperNames[m.Name] + " #steps"}
		for k, task := range p.Tasks {
			ours = append(ours, stepsText(res.Tasks[k].Methods[i].Median.Steps))
			paper = append(paper, count(paperFigure(paperSteps, m.Name, task.Name)))
		}
		t.add(false, ours...)
		if known(paper) {
			t.add(true, paper...)
		}
	}
	return t
}

// costs are steps, seconds and bytes to the target.
func costs(p *Protocol, res *Results) table {
	t := table{
		Title: "Steps, seconds and bytes to the target",
		Head:  []string{"", "method", "reached", "steps", "fewer steps, paired", "seconds", "bytes read", "best"},
		Notes: []string{"Medians over seeds. Paired: the median over seeds of the steps that plain training with the same seed needs more. Seconds are comparable among themselves only, as several runs shared the machine. Bytes are those of the samples read."},
	}
	for k, task := range p.Tasks {
		for _, r := range res.Tasks[k].Methods {
			t.add(false, task.Title, p.titleOf(r.Method), fmt.Sprintf("%d of %d", r.Reached, len(r.Seeds)), stepsText(r.Median.Steps),
				pairedText(r, p), secondsText(r.Median.Seconds), bytesText(float64(r.Median.Bytes)), valueText(task, float64(r.Best)))
		}
	}
	return t
}

func pairedText(r MethodResult, p *Protocol) string {
	if r.Method == p.Base().Name {
		return none
	}
	return fmt.Sprintf("%s [%s, %s]", signed(r.Paired.Value), signed(r.Paired.Low), signed(r.Paired.High))
}

// overheads has the layout of the paper's overhead table.
func overheads(p *Protocol, res *Results) table {
	t := table{
		Title: "Overhead",
		Head:  []string{"", "method", "peak memory", "time", "total time overhead", "nowcasts kept"},
		Notes: []string{"Peak memory of the whole process. Overhead is the share of nowcasts in the time of a run; what a safeguard costs in steps is part of the steps to the target."},
	}
	for k, task := range p.Tasks {
		for _, r := range res.Tasks[k].Methods {
			o := r.Overhead
			time, share, kept := figureOf(float64(o.StepMilliseconds), "%.3g ms/step"), figureOf(float64(o.Percent), "%.2f %%"), none
			if o.Nowcasts > 0 {
				time += ", " + figureOf(float64(o.NowcastMilliseconds), "%.3g ms/predict")
				kept = fmt.Sprintf("%d of %d", o.Kept, o.Nowcasts)
			}
			memory := none
			if o.PeakBytes > 0 {
				memory = bytesText(float64(o.PeakBytes))
			}
			t.add(false, task.Title, p.titleOf(r.Method), memory, time, share, kept)
		}
	}
	return t
}

// searched are the learning rates that were tried.
func searched(p *Protocol, res *Results) table {
	t := table{Title: "Search for the learning rates", Head: []string{"", "method", "learning rate", "best", ""}}
	for k, task := range p.Tasks {
		for _, s := range res.Tasks[k].Search {
			best, chosen := "diverged", ""
			if s.Best.finite() {
				best = valueText(task, float64(s.Best))
			}
			if s.Chosen {
				chosen = "chosen"
			}
			t.add(false, task.Title, p.titleOf(s.Method), fmt.Sprintf("%g", s.LR), best, chosen)
		}
	}
	return t
}

// titleOf is the title of the method of a name.
func (p *Protocol) titleOf(name string) string {
	for _, m := range p.Methods {
		if m.Name == name {
			return m.Title()
		}
	}
	return name
}

func dataText(k Task) string {
	if k.Note != "" {
		return k.Note
	}
	return k.Data
}

func metricName(k Task) string {
	if k.Metric == training.MetricAccuracy {
		return "Acc"
	}
	return "Loss"
}

func valueText(k Task, v float64) string {
	switch {
	case math.IsNaN(v):
		return none
	case k.Metric == training.MetricAccuracy:
		return fmt.Sprintf("%.2f %%", v)
	}
	return fmt.Sprintf("%.4f", v)
}

// reductionText is a reduction in percent; "missed" where the median is.
func reductionText(i Interval, reached, seeds int) string {
	if math.IsInf(float64(i.Value), -1) {
		return fmt.Sprintf("missed (%d of %d reach it)", reached, seeds)
	}
	return intervalText(i)
}

func intervalText(i Interval) string {
	switch {
	case math.IsNaN(float64(i.Value)):
		return none
	case math.IsInf(float64(i.Value), -1):
		return "missed"
	}
	return fmt.Sprintf("%s [%s, %s]", figure(float64(i.Value)), figure(float64(i.Low)), figure(float64(i.High)))
}

// figure is a number with one decimal, with a proper minus sign.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return none
	case math.IsInf(v, -1):
		return "−∞"
	case math.IsInf(v, 1):
		return "∞"
	}
	return strings.Replace(fmt.Sprintf("%.1f", v), "-", "−", 1)
}

func figureOf(v float64, format string) string {
	if math.IsNaN(v) {
		return none
	}
	return fmt.Sprintf(format, v)
}

// signed is a whole number with its sign.
func signed(n Number) string {
	if math.IsInf(float64(n), 0) || math.IsNaN(float64(n)) {
		return figure(float64(n))
	}
	return strings.Replace(fmt.Sprintf("%+.0f", float64(n)), "-", "−", 1)
}

func stepsText(n Number) string {
	if !n.finite() {
		return "missed"
	}
	return count(float64(n))
}

func count(v float64) string {
	if math.IsNaN(v) {
		return none
	}
	return fmt.Sprintf("%.0f", v)
}

func secondsText(n Number) string {
	if !n.finite() {
		return none
	}
	return fmt.Sprintf("%.1f", float64(n))
}

func bytesText(v float64) string {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return none
	}
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	return fmt.Sprintf("%.3g %s", v, units[i])
}

// parameters is a number of parameters as the paper writes it: 14K, 1.2M.
func parameters(n int) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	case n >= 1000:
		return fmt.Sprintf("%.0fK", float64(n)/1000)
	}
	return fmt.Sprint(n)
}

// WriteTable writes the tables as Markdown.
func WriteTable(w io.Writer, p *Protocol, res *Results) error {
	var b strings.Builder
	for i, t := range tables(p, res) {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "**%s**\n\n", t.Title)
		line := func(cells []string) {
			for _, c := range cells {
				b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
			}
			b.WriteString("|\n")
		}
		line(t.Head)
		line(strings.Split(strings.Repeat("---,", len(t.Head)-1)+"---", ","))
		for _, r := range t.Rows {
			cells := r.Cells
			if r.Muted {
				cells = nil
				for _, c := range r.Cells {
					cells = append(cells, "*"+c+"*")
				}
			}
			line(cells)
		}
		for _, n := range t.Notes {
			fmt.Fprintf(&b, "\n%s\n", n)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
