package plot

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

func TestAxes(t *testing.T) {
	a := LinearAxis(0, 4000, 0, 100, 8)
	if fmt.Sprint(a.Ticks) != "[0 500 1000 1500 2000 2500 3000 3500 4000]" || a.At(1000) != 25 {
		t.Errorf("ticks %v, 1000 at %v", a.Ticks, a.At(1000))
	}
	a = LinearAxis(87.31, 87.34, 100, 0, 6)
	if a.Lo > 87.31 || a.Hi < 87.34 || len(a.Ticks) < 4 || len(a.Ticks) > 10 {
		t.Errorf("axis %+v", a)
	}
	for _, k := range []struct {
		lo, hi float64
		want   string
	}{{0.3, 2.3, "[0.3 0.4 0.5 0.7 1 1.5 2]"}, {0.01, 20, "[0.01 0.02 0.05 0.1 0.2 0.5 1 2 5 10 20]"}} {
		if got := fmt.Sprintf("%.2g", LogAxis(k.lo, k.hi, 100, 0).Ticks); got != k.want {
			t.Errorf("ticks of %v to %v: %v, expected %v", k.lo, k.hi, got, k.want)
		}
	}
	if p := thin(make([]Point, 1001)); len(p) > MaxPoints {
		t.Errorf("%d points left of 1001, expected at most %d", len(p), MaxPoints)
	}
}

// A picture is XML, shows every point at equal scale, and jumps apart from the
// line.
func TestPlane(t *testing.T) {
	p := Plane{
		Title: `<a> & "b"`, X: "x", Y: "y",
		Paths: []Path{{Name: "run <1>", Points: []Point{{0, 0}, {1, 0}, {3, 1}, {4, 1}}, Texts: []string{"step 0"}, Jumps: []Jump{{From: 1, Text: "jump"}, {From: 3}}}},
		Dots:  []Dot{{Color: 2, Point: Point{2, 2}, Text: "dot"}},
	}
	text := p.SVG()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is not XML: %v", err)
		}
	}
	if strings.Contains(text, "<a>") || strings.Contains(text, "run <1>") {
		t.Error("names become markup")
	}
	if n := strings.Count(text, "leap"); n != 1 { // the last point has nothing behind it
		t.Errorf("%d jumps drawn, expected 1", n)
	}
	x, y := p.axes()
	if dx, dy := x.At(1)-x.At(0), y.At(0)-y.At(1); math.Abs(dx-dy) > 1e-9 {
		t.Errorf("a unit is %v wide and %v high", dx, dy)
	}
	for _, q := range append(p.Paths[0].Points, p.Dots[0].Point) {
		if x.At(q.X) < planeLeft || x.At(q.X) > width-right || y.At(q.Y) < top || y.At(q.Y) > planeHeight-bottom {
			t.Errorf("%v lies outside", q)
		}
	}
	if one := (&Plane{Dots: []Dot{{}}}).SVG(); strings.Contains(one, "NaN") {
		t.Error("a single point has no place")
	}
}

// A logarithmic x axis shows whole numbers, each once.
func TestWholeTicks(t *testing.T) {
	c := Chart{X: "horizon", LogX: true}
	c.Add(Curve{Points: []Point{{1, 1}, {5, 2}}})
	if x, _ := c.axes(); fmt.Sprint(x.Ticks) != "[1 2 3 4 5]" {
		t.Errorf("ticks %v", x.Ticks)
	}
}
