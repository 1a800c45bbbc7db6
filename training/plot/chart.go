package plot

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Sizes of a chart in pixels.
const (
	width  = 760
	height = 320
	left   = 60
	right  = 18
	top    = 14
	bottom = 46
)

// MaxPoints is the most points of a curve; more are averaged.
const MaxPoints = 300

// Point is a place in a diagram.
type Point struct{ X, Y float64 }

// Curve is a line through points, from left to right.
type Curve struct {
	Name   string
	Color  int
	Many   bool // other curves have the same name
	Dashed bool
	Dots   bool // the points themselves are marked
	Points []Point
}

// Mark is something that happened at a place of the x axis.
type Mark struct {
	Color int
	X     float64
	Open  bool   // it was taken back
	Text  string // what the pointer shows
}

// Hit is a point of a curve that a disc marks.
type Hit struct {
	Color int
	Point
	Text string
}

// Chart is one diagram of curves.
type Chart struct {
	Title  string
	X      string // name of the x axis: "training step"
	Unit   string // behind the numbers of the y axis
	Curves []Curve
	Marks  []Mark
	Goal   *float64
	Hits   []Hit
	Last   int  // the x axis ends there at the earliest
	Log    bool // y axis
	LogX   bool
}

// Add adds a curve, unless it is empty. Of one with more than MaxPoints points
// neighbours are averaged.
func (c *Chart) Add(cv Curve) {
	if len(cv.Points) > 0 {
		cv.Points = thin(cv.Points)
		c.Curves = append(c.Curves, cv)
	}
}

// FirstAtLeast is the first point at or above a level.
func FirstAtLeast(p []Point, level float64) (Point, bool) {
	i := slices.IndexFunc(p, func(p Point) bool { return p.Y >= level })
	if i < 0 {
		return Point{}, false
	}
	return p[i], true
}

// thin averages neighbouring points until at most MaxPoints are left.
func thin(p []Point) []Point {
	group := (len(p) + MaxPoints - 1) / MaxPoints
	if group <= 1 {
		return p
	}
	var out []Point
	for at := 0; at < len(p); at += group {
		part := p[at:min(at+group, len(p))]
		var s Point
		for _, q := range part {
			s.X += q.X
			s.Y += q.Y
		}
		out = append(out, Point{s.X / float64(len(part)), s.Y / float64(len(part))})
	}
	return out
}

// Range is the least and the greatest value of the curves and the goal.
func (c *Chart) Range() (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, cv := range c.Curves {
		for _, p := range cv.Points {
			lo, hi = min(lo, p.Y), max(hi, p.Y)
		}
	}
	if c.Goal != nil {
		lo, hi = min(lo, *c.Goal), max(hi, *c.Goal)
	}
	if lo == hi {
		lo, hi = lo-0.5, hi+0.5
	}
	return lo, hi
}

// SVG draws the chart as an SVG element whose colours come from Style.
func (c *Chart) SVG() string {
	var b strings.Builder
	label := c.Title
	if c.X == "training step" {
		label += " over training steps"
	} else if c.X != "" {
		label += " over " + c.X
	}
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, height, html.EscapeString(label))
	c.draw(&b)
	b.WriteString("</svg>")
	return b.String()
}

func (c *Chart) draw(b *strings.Builder) {
	x, y := c.axes()
	c.drawAxes(b, x, y)
	for _, m := range c.Marks {
		class, mark := "cast", "kept-mark"
		if m.Open {
			class, mark = "cast undone", "undone-mark"
		}
		px := x.At(m.X)
		fmt.Fprintf(b, `<g style="stroke:var(--run%d);fill:var(--run%d)"><title>%s</title>`, m.Color, m.Color, html.EscapeString(m.Text))
		fmt.Fprintf(b, `<line class="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, class, px, px, y.To, y.From)
		fmt.Fprintf(b, `<path class="%s" d="M%.1f %.1f l-5 -8 h10 z"/></g>`, mark, px, y.To+6)
	}
	if c.Goal != nil {
		fmt.Fprintf(b, `<line class="goal" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.From, x.To, y.At(*c.Goal), y.At(*c.Goal))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="start">target %s%s</text>`, x.From+6, y.At(*c.Goal)-5, Trim(*c.Goal), c.Unit)
	}
	for _, cv := range c.Curves {
		c.drawCurve(b, cv, x, y)
	}
	for _, h := range c.Hits {
		fmt.Fprintf(b, `<circle class="reached" cx="%.1f" cy="%.1f" r="6" style="fill:var(--run%d)"><title>%s</title></circle>`,
			x.At(h.Point.X), y.At(h.Point.Y), h.Color, html.EscapeString(h.Text))
	}
}

func (c *Chart) drawAxes(b *strings.Builder, x, y Axis) {
	for _, v := range y.Ticks {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.From, x.To, y.At(v), y.At(v))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`, x.From-8, y.At(v)+4.5, tickText(v)+c.Unit)
	}
	for _, v := range x.Ticks {
		fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.At(v), x.At(v), y.From, y.From+5)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x.At(v), y.From+20, Thousands(int(math.Round(v))))
	}
	fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.From, x.To, y.From, y.From)
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (x.From+x.To)/2, y.From+39, html.EscapeString(c.X))
}

func (c *Chart) drawCurve(b *strings.Builder, cv Curve, x, y Axis) {
	class := "curve"
	if cv.Many {
		class += " one-of-many"
	}
	if cv.Dashed {
		class += " dashed"
	}
	fmt.Fprintf(b, `<path class="%s" style="stroke:var(--run%d)" d="`, class, cv.Color)
	for i, p := range cv.Points {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		fmt.Fprintf(b, "%s%.1f %.1f", letter, x.At(p.X), y.At(p.Y))
	}
	b.WriteString(`"/>`)
	fill, step := "transparent", "" // invisible, but answers the pointer
	if cv.Dots {
		fill = fmt.Sprintf("var(--run%d)", cv.Color)
	}
	if c.X == "training step" {
		step = "step "
	}
	for _, p := range cv.Points {
		r := 5
		if cv.Dots {
			r = 3
		}
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="%d" fill="%s"><title>%s, %s%.0f: %.4g%s</title></circle>`,
			x.At(p.X), y.At(p.Y), r, fill, html.EscapeString(cv.Name), step, p.X, p.Y, c.Unit)
	}
}

func (c *Chart) axes() (x, y Axis) {
	first, last := math.Inf(1), float64(max(c.Last, 1))
	for _, cv := range c.Curves {
		first, last = min(first, cv.Points[0].X), max(last, cv.Points[len(cv.Points)-1].X)
	}
	if c.LogX {
		x = LogAxis(first, last, left, width-right)
		x.Ticks = slices.DeleteFunc(x.Ticks, func(v float64) bool { return v != math.Round(v) }) // they are shown so
	} else {
		x = LinearAxis(0, last, left, width-right, 8)
		x.Hi = last // the curves may end between two ticks
		for len(x.Ticks) > 0 && x.Ticks[len(x.Ticks)-1] > last {
			x.Ticks = x.Ticks[:len(x.Ticks)-1]
		}
	}
	lo, hi := c.Range()
	if c.Log {
		return x, LogAxis(lo, hi, height-bottom, top)
	}
	return x, LinearAxis(lo, hi, height-bottom, top, 6)
}

// Entry is a line of a legend.
type Entry struct {
	Name  string
	Color int
}

// Standalone stacks charts below each other with a legend on top, as a picture
// of its own.
func Standalone(all []Chart, names []Entry) string {
	const head, title = 34, 30
	var b strings.Builder
	total := head + len(all)*(height+title)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 %d %d" width="%d" height="%d">`, width, total, width, total)
	fmt.Fprintf(&b, `<style>%s</style><rect width="100%%" height="100%%" fill="var(--surface)"/>`, Style)
	x := left
	for _, n := range names {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="20" y2="20" style="stroke:var(--run%d);stroke-width:3"/>`, x, x+24, n.Color)
		fmt.Fprintf(&b, `<text x="%d" y="24.5">%s</text>`, x+31, html.EscapeString(n.Name))
		x += 60 + 8*len([]rune(n.Name))
	}
	for i := range all {
		at := head + i*(height+title)
		fmt.Fprintf(&b, `<text class="name" x="%d" y="%d">%s</text><g transform="translate(0 %d)">`, left, at+20, html.EscapeString(all[i].Title), at+title)
		all[i].draw(&b)
		b.WriteString("</g>")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
