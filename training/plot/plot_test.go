package plot

import (
	"fmt"
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
