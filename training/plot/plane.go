package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// planeHeight is that of a picture of points in pixels.
const planeHeight = 440

// planeLeft leaves room for the name of the y axis.
const planeLeft = left + 30

// Plane is a picture of points and paths in two dimensions of equal scale.
type Plane struct {
	Title string
	X, Y  string // names of the axes
	Paths []Path
	Dots  []Dot
}

// Path is a line through points in the order of time.
type Path struct {
	Name   string
	Color  int
	Points []Point
	Texts  []string // what the pointer shows at each point
	Jumps  []Jump
}

// Jump marks the step of a path from the point of a number to the next.
type Jump struct {
	From int
	Open bool // it was taken back
	Text string
}

// Dot is a point of its own.
type Dot struct {
	Color int
	Point
	Text string
}

// Picture is a diagram for a report, with what is to be seen in it.
type Picture struct {
	Title  string
	Text   string
	SVG    string
	Legend []Entry
}

// SVG draws the picture as an SVG element whose colours come from Style.
func (p *Plane) SVG() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, planeHeight, html.EscapeString(p.Title))
	x, y := p.axes()
	p.drawAxes(&b, x, y)
	for _, path := range p.Paths {
		path.draw(&b, x, y)
	}
	for _, d := range p.Dots {
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="var(--run%d)" fill-opacity=".75"><title>%s</title></circle>`, x.At(d.X), y.At(d.Y), d.Color, html.EscapeString(d.Text))
	}
	b.WriteString("</svg>")
	return b.String()
}

// axes cover all points, at the same scale in both directions.
func (p *Plane) axes() (x, y Axis) {
	lo, hi := Point{math.Inf(1), math.Inf(1)}, Point{math.Inf(-1), math.Inf(-1)}
	cover := func(q Point) {
		lo, hi = Point{min(lo.X, q.X), min(lo.Y, q.Y)}, Point{max(hi.X, q.X), max(hi.Y, q.Y)}
	}
	for _, path := range p.Paths {
		for _, q := range path.Points {
			cover(q)
		}
	}
	for _, d := range p.Dots {
		cover(d.Point)
	}
	const inner, tall = width - planeLeft - right, planeHeight - top - bottom
	scale := max((hi.X-lo.X)/inner, (hi.Y-lo.Y)/tall) * 1.06
	if !(scale > 0) || math.IsInf(scale, 0) { // a single point, or none
		scale, lo, hi = 1./inner, Point{-0.5, -0.5}, Point{0.5, 0.5}
	}
	span := func(lo, hi, pixels, from, to float64) Axis {
		middle := (lo + hi) / 2
		a := Axis{Lo: middle - scale*pixels/2, Hi: middle + scale*pixels/2, From: from, To: to}
		for _, v := range LinearAxis(a.Lo, a.Hi, from, to, 6).Ticks {
			if v >= a.Lo && v <= a.Hi {
				a.Ticks = append(a.Ticks, v)
			}
		}
		return a
	}
	return span(lo.X, hi.X, inner, planeLeft, width-right), span(lo.Y, hi.Y, tall, planeHeight-bottom, top)
}

func (p *Plane) drawAxes(b *strings.Builder, x, y Axis) {
	for _, v := range y.Ticks {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.From, x.To, y.At(v), y.At(v))
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`, x.From-8, y.At(v)+4.5, planeTick(v))
	}
	for _, v := range x.Ticks {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x.At(v), x.At(v), y.From, y.To)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x.At(v), y.From+20, planeTick(v))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, (x.From+x.To)/2, y.From+39, html.EscapeString(p.X))
	fmt.Fprintf(b, `<text transform="translate(18 %.1f) rotate(-90)" text-anchor="middle">%s</text>`, (y.From+y.To)/2, html.EscapeString(p.Y))
}

func planeTick(v float64) string {
	if math.Abs(v) < 1e-9 {
		return "0"
	}
	return strings.Replace(fmt.Sprintf("%.3g", v), "-", "−", 1)
}

// draw draws the path with jumps dotted and marked at their ends.
func (p *Path) draw(b *strings.Builder, x, y Axis) {
	jump := map[int]Jump{}
	for _, j := range p.Jumps {
		jump[j.From] = j
	}
	var line strings.Builder
	pen := false
	for i, q := range p.Points {
		letter := "L"
		if !pen {
			letter = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", letter, x.At(q.X), y.At(q.Y))
		_, leaps := jump[i]
		pen = !leaps
	}
	fmt.Fprintf(b, `<path class="curve" style="stroke:var(--run%d)" d="%s"/>`, p.Color, line.String())
	for i, q := range p.Points {
		r := 2.5
		if i == 0 {
			r = 5
		}
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="%.1f" fill="var(--run%d)"><title>%s</title></circle>`, x.At(q.X), y.At(q.Y), r, p.Color, html.EscapeString(p.Name+p.text(i)))
		j, leaps := jump[i]
		if !leaps || i+1 >= len(p.Points) {
			continue
		}
		to := p.Points[i+1]
		class, mark := "cast", "kept-mark"
		if j.Open {
			class, mark = "cast undone", "undone-mark"
		}
		fmt.Fprintf(b, `<g style="stroke:var(--run%d);fill:var(--run%d)"><title>%s</title>`, p.Color, p.Color, html.EscapeString(j.Text))
		fmt.Fprintf(b, `<line class="%s leap" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x.At(q.X), y.At(q.Y), x.At(to.X), y.At(to.Y))
		fmt.Fprintf(b, `<path class="%s" d="%s"/></g>`, mark, arrow(x.At(q.X), y.At(q.Y), x.At(to.X), y.At(to.Y)))
	}
}

func (p *Path) text(i int) string {
	if i < len(p.Texts) {
		return ", " + p.Texts[i]
	}
	return ""
}

// arrow is the head of an arrow between two places.
func arrow(fromX, fromY, toX, toY float64) string {
	const long, wide = 9, 4
	d := math.Hypot(toX-fromX, toY-fromY)
	if d == 0 {
		return ""
	}
	ux, uy := (toX-fromX)/d, (toY-fromY)/d
	return fmt.Sprintf("M%.1f %.1fL%.1f %.1fL%.1f %.1fz", toX, toY, toX-long*ux+wide*uy, toY-long*uy-wide*ux, toX-long*ux-wide*uy, toY-long*uy+wide*ux)
}
