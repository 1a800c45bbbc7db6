package training

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Sizes of a chart in pixels.
const (
	chartWidth   = 760
	chartHeight  = 320
	chartLeft    = 60
	chartRight   = 18
	chartTop     = 14
	chartBottom  = 46
	chartPoints  = 300 // most points per curve; more are averaged
	chartColors  = 6   // --run0 … --run5 of chartStyle
	logThreshold = 8   // largest / smallest value from which a loss is drawn on a logarithmic axis
)

// chartStyle colours charts in light and dark surroundings.
const chartStyle = `
:root { color-scheme: light dark; --surface: #ffffff; --ink: #1c1c1a; --muted: #5f5e58; --grid: #e4e3dd;
  --run0: #2a78d6; --run1: #d9541e; --run2: #15936a; --run3: #6a56c8; --run4: #b0700a; --run5: #c2418c; }
@media (prefers-color-scheme: dark) {
  :root { --surface: #161615; --ink: #f2f1ec; --muted: #aeada5; --grid: #34332f;
    --run0: #5b9ff0; --run1: #f0794a; --run2: #35bd8e; --run3: #a295f2; --run4: #e0a03c; --run5: #ee7db8; } }
.chart text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--muted); }
.chart .name { fill: var(--ink); font-weight: 600; }
.chart .grid { stroke: var(--grid); stroke-width: 1; }
.chart .axis { stroke: var(--muted); stroke-width: 1; }
.chart .goal { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 6 4; }
.chart .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .one-of-many { stroke-width: 1.5; opacity: .8; }
.chart .cast { stroke-width: 1; stroke-dasharray: 2 3; opacity: .75; }
.chart .undone { opacity: .35; }
.chart .kept-mark { stroke: none; }
.chart .undone-mark { fill: var(--surface); }
.chart .reached { stroke: var(--surface); stroke-width: 2; }
`

type point struct{ x, y float64 }

type curve struct {
	name   string
	color  int
	many   bool // other curves have the same name
	points []point
}

type castMark struct {
	color int
	Nowcast
}

// chart is one diagram over the training steps.
type chart struct {
	title  string
	unit   string // behind the numbers of the y axis
	curves []curve
	marks  []castMark
	goal   *float64
	hits   []hit // where a run reached the goal
	steps  int   // of the longest run
	log    bool
}

// hit is the first evaluation of a run at or beyond its target.
type hit struct {
	color int
	point
}

// charts are the diagrams of a report: test accuracy where there is one, test
// loss otherwise, and the training loss.
func charts(runs []RunRecord) []chart {
	accuracy := chart{title: "Test accuracy", unit: " %"}
	testLoss := chart{title: "Test loss"}
	loss := chart{title: "Training loss"}
	colors := runColors(runs)
	for i, r := range runs {
		var acc, test, train []point
		for _, m := range r.Metrics {
			x := float64(m.Step)
			if m.EvalAccuracy != nil {
				acc = append(acc, point{x, *m.EvalAccuracy})
			}
			if m.EvalLoss != nil {
				test = append(test, point{x, *m.EvalLoss})
			}
			if m.Loss != nil {
				train = append(train, point{x, *m.Loss})
			}
		}
		for _, c := range []*chart{&accuracy, &testLoss, &loss} {
			c.steps = max(c.steps, r.Summary.Steps)
		}
		many := 0
		for _, other := range runs {
			if other.Name == r.Name {
				many++
			}
		}
		accuracy.add(curve{r.shown(), colors[i], many > 1, acc})
		testLoss.add(curve{r.shown(), colors[i], many > 1, test})
		loss.add(curve{r.shown(), colors[i], many > 1, train})
		for _, n := range r.Summary.Nowcasts {
			mark := castMark{colors[i], n}
			accuracy.marks = append(accuracy.marks, mark)
			testLoss.marks = append(testLoss.marks, mark)
			loss.marks = append(loss.marks, mark)
		}
		if s := r.Summary; s.Target != nil && s.TargetMetric == MetricAccuracy {
			accuracy.goal = s.Target
			accuracy.hits = append(accuracy.hits, hitOf(colors[i], acc, *s.Target)...)
		}
	}
	var out []chart
	if len(accuracy.curves) > 0 {
		out = append(out, accuracy)
	} else if len(testLoss.curves) > 0 {
		out = append(out, testLoss)
	}
	if len(loss.curves) > 0 {
		lo, hi := loss.yRange()
		loss.log = lo > 0 && hi/lo > logThreshold
		if len(loss.curves[0].points) >= chartPoints {
			loss.title += " (averaged)"
		}
		out = append(out, loss)
	}
	return out
}

func (c *chart) add(cv curve) {
	if len(cv.points) > 0 {
		cv.points = thin(cv.points)
		c.curves = append(c.curves, cv)
	}
}

// hitOf is the first point at or above the goal, if there is one.
func hitOf(color int, p []point, goal float64) []hit {
	i := slices.IndexFunc(p, func(p point) bool { return p.y >= goal })
	if i < 0 {
		return nil
	}
	return []hit{{color, p[i]}}
}

// thin averages neighbouring points until at most chartPoints are left.
func thin(p []point) []point {
	group := (len(p) + chartPoints - 1) / chartPoints
	if group <= 1 {
		return p
	}
	var out []point
	for at := 0; at < len(p); at += group {
		part := p[at:min(at+group, len(p))]
		var s point
		for _, q := range part {
			s.x += q.x
			s.y += q.y
		}
		out = append(out, point{s.x / float64(len(part)), s.y / float64(len(part))})
	}
	return out
}

func (c *chart) yRange() (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, cv := range c.curves {
		for _, p := range cv.points {
			lo, hi = min(lo, p.y), max(hi, p.y)
		}
	}
	if c.goal != nil {
		lo, hi = min(lo, *c.goal), max(hi, *c.goal)
	}
	if lo == hi {
		lo, hi = lo-0.5, hi+0.5
	}
	return lo, hi
}

// axis maps values to pixels.
type axis struct {
	lo, hi, from, to float64
	log              bool
	ticks            []float64
}

func (a axis) at(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	return a.from + (v-lo)/(hi-lo)*(a.to-a.from)
}

// linearAxis covers lo..hi with about n round ticks; the ends are ticks.
func linearAxis(lo, hi, from, to float64, n int) axis {
	step := roundStep((hi - lo) / float64(n))
	a := axis{lo: math.Floor(lo/step+1e-9) * step, hi: math.Ceil(hi/step-1e-9) * step, from: from, to: to}
	for i := 0; a.lo+float64(i)*step <= a.hi+step/2; i++ {
		a.ticks = append(a.ticks, a.lo+float64(i)*step)
	}
	return a
}

// roundStep is the next of 1, 2 or 5 times a power of ten.
func roundStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*p*1.0001 {
			return m * p
		}
	}
	return 10 * p
}

// logAxis covers lo..hi with ticks at 1, 2 and 5 times powers of ten, and a few
// more where that is less than a power.
func logAxis(lo, hi, from, to float64) axis {
	a := axis{lo: lo / 1.1, hi: hi * 1.1, from: from, to: to, log: true}
	for p := math.Pow(10, math.Floor(math.Log10(a.lo))); p <= a.hi; p *= 10 {
		marks := []float64{1, 2, 5}
		if hi < 10*lo {
			marks = []float64{1, 1.5, 2, 3, 4, 5, 7}
		}
		for _, m := range marks {
			if v := m * p; v >= a.lo && v <= a.hi {
				a.ticks = append(a.ticks, v)
			}
		}
	}
	return a
}

// svg draws the chart as an SVG element whose colours come from chartStyle.
func (c *chart) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s over training steps">`, chartWidth, chartHeight, html.EscapeString(c.title))
	c.draw(&b)
	b.WriteString("</svg>")
	return b.String()
}

func (c *chart) draw(b *strings.Builder) {
	x, y := c.axes()
	left, right, top, bottom := x.from, x.to, y.to, y.from
	for _, v := range y.ticks {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, left, right, y.at(v), y.at(v))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`, left-8, y.at(v)+4.5, tickText(v)+c.unit)
	}
	for _, v := range x.ticks {
		fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.at(v), x.at(v), bottom, bottom+5)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x.at(v), bottom+20, thousands(int(math.Round(v))))
	}
	fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, left, right, bottom, bottom)
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">training step</text>`, (left+right)/2, bottom+39)
	for _, m := range c.marks {
		class, what, mark := "cast", "kept", "kept-mark"
		if !m.Accepted {
			class, what, mark = "cast undone", "undone", "undone-mark"
		}
		px := x.at(float64(m.Step))
		fmt.Fprintf(b, `<g style="stroke:var(--run%d);fill:var(--run%d)"><title>step %d: nowcast, horizon %d, %s</title>`, m.color, m.color, m.Step, m.K, what)
		fmt.Fprintf(b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, px, px, top, bottom)
		fmt.Fprintf(b, `<path class="%s" d="M%.1f %.1f l-5 -8 h10 z"/></g>`, mark, px, top+6)
	}
	if c.goal != nil {
		fmt.Fprintf(b, `<line class="goal" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, left, right, y.at(*c.goal), y.at(*c.goal))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="start">target %s%s</text>`, left+6, y.at(*c.goal)-5, trimNumber(*c.goal), c.unit)
	}
	for _, cv := range c.curves {
		class := "curve"
		if cv.many {
			class = "curve one-of-many"
		}
		fmt.Fprintf(b, `<path class="%s" style="stroke:var(--run%d)" d="`, class, cv.color)
		for i, p := range cv.points {
			letter := "L"
			if i == 0 {
				letter = "M"
			}
			fmt.Fprintf(b, "%s%.1f %.1f", letter, x.at(p.x), y.at(p.y))
		}
		b.WriteString(`"/>`)
		for _, p := range cv.points { // invisible, but answers the pointer
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="5" fill="transparent"><title>%s, step %.0f: %.4g%s</title></circle>`,
				x.at(p.x), y.at(p.y), html.EscapeString(cv.name), p.x, p.y, c.unit)
		}
	}
	for _, h := range c.hits {
		fmt.Fprintf(b, `<circle class="reached" cx="%.1f" cy="%.1f" r="6" style="fill:var(--run%d)"><title>target reached at step %.0f</title></circle>`,
			x.at(h.x), y.at(h.y), h.color, h.x)
	}
}

func (c *chart) axes() (x, y axis) {
	last := float64(max(c.steps, 1))
	for _, cv := range c.curves {
		last = max(last, cv.points[len(cv.points)-1].x)
	}
	x = linearAxis(0, last, chartLeft, chartWidth-chartRight, 8)
	x.hi = last // the curves may end between two ticks
	for len(x.ticks) > 0 && x.ticks[len(x.ticks)-1] > last {
		x.ticks = x.ticks[:len(x.ticks)-1]
	}
	lo, hi := c.yRange()
	if c.log {
		return x, logAxis(lo, hi, chartHeight-chartBottom, chartTop)
	}
	return x, linearAxis(lo, hi, chartHeight-chartBottom, chartTop, 6)
}

func tickText(v float64) string {
	if math.Abs(v) >= 1 || v == 0 {
		return trimNumber(v)
	}
	return fmt.Sprintf("%.2g", v)
}

// standaloneSVG stacks charts below each other with a legend on top.
func standaloneSVG(all []chart, names []legendEntry) string {
	const head, title = 34, 30
	var b strings.Builder
	height := head + len(all)*(chartHeight+title)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 %d %d" width="%d" height="%d">`, chartWidth, height, chartWidth, height)
	fmt.Fprintf(&b, `<style>%s</style><rect width="100%%" height="100%%" fill="var(--surface)"/>`, chartStyle)
	x := chartLeft
	for _, n := range names {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="20" y2="20" style="stroke:var(--run%d);stroke-width:3"/>`, x, x+24, n.Color)
		fmt.Fprintf(&b, `<text x="%d" y="24.5">%s</text>`, x+31, html.EscapeString(n.Name))
		x += 60 + 8*len([]rune(n.Name))
	}
	for i := range all {
		at := head + i*(chartHeight+title)
		fmt.Fprintf(&b, `<text class="name" x="%d" y="%d">%s</text><g transform="translate(0 %d)">`, chartLeft, at+20, html.EscapeString(all[i].title), at+title)
		all[i].draw(&b)
		b.WriteString("</g>")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
