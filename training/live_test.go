package training

import (
	"math"
	"slices"
	"testing"
)

// However long a series, its curve has a bounded number of points, the means of
// equal stretches.
func TestCurve(t *testing.T) {
	var c curve
	const n = 8 * curvePoints
	for i := range n {
		c.add(float64(i))
		if i%10 == 0 {
			c.add(math.NaN())
			c.add(math.Inf(1))
		}
	}
	if len(c.points) < curvePoints/2 || len(c.points) >= curvePoints || !slices.IsSorted(c.points) {
		t.Fatalf("%d points %v", len(c.points), c.points)
	}
	per := float64(c.per)
	for i, v := range c.points {
		if want := per*float64(i) + (per-1)/2; v != want {
			t.Fatalf("point %d of %v numbers is %v, expected %v", i, per, v, want)
		}
	}
}
