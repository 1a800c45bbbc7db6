package nino

import (
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"

	"ninox/onnxgraph/weights"
)

func TestLinefit(t *testing.T) {
	l := Linefit()
	if l.Name() != "linefit" || l.Context() != 5 {
		t.Errorf("%s with %d states", l.Name(), l.Context())
	}
	var states []*weights.Set
	zigzag := []float32{0, 1, -1, 1, 4} // slope 0.8, mean 1
	for i := range 5 {
		s := &weights.Set{}
		s.AddFloats("line", []int64{2, 1}, []float32{3 + 2*float32(i), -float32(i)})
		s.AddFloats("zigzag", []int64{1}, zigzag[i:i+1])
		s.Add("steps", weights.DenseInt64s([]int64{1}, []int64{int64(i)}))
		states = append(states, s)
	}
	got, err := l.Nowcast(t.Context(), states, 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]float32{"line": {17, -7}, "zigzag": {1 + 0.8*5}} {
		if v, err := got.Floats(name); err != nil || distance(v, want) > 1e-6 {
			t.Errorf("%s: %v, %v, expected %v", name, v, err, want)
		}
	}
	if !slices.Equal(got.Get("line").Shape(), tensor.Shape{2, 1}) || got.Get("steps").Data().([]int64)[0] != 4 {
		t.Errorf("shape or integers: %v", got)
	}
	if v, _ := states[4].Floats("line"); v[0] != 11 {
		t.Error("the newest state was changed")
	}
	if _, err := l.Nowcast(t.Context(), states[1:], 3); err == nil || !strings.Contains(err.Error(), "4 states, expected 5") {
		t.Errorf("error %v", err)
	}
	if _, err := l.Nowcast(t.Context(), states, 0); err == nil || !strings.Contains(err.Error(), "horizon 0") {
		t.Errorf("error %v", err)
	}
	states[2] = &weights.Set{}
	if _, err := l.Nowcast(t.Context(), states, 1); err == nil || !strings.Contains(err.Error(), `state 2`) {
		t.Errorf("error %v", err)
	}
}

// Errors weigh 1, 2 and 3; any line is its own fit.
func TestLinefitPlus(t *testing.T) {
	l := LinefitPlus().Over(3)
	if l.Name() != "linefit+" || l.Context() != 3 || LinefitPlus().Context() != 5 {
		t.Errorf("%s with %d states", l.Name(), l.Context())
	}
	var states []*weights.Set
	for i, v := range []float32{0, 0, 3} {
		s := &weights.Set{}
		s.AddFloats("bend", []int64{1}, []float32{v})
		s.AddFloats("line", []int64{1}, []float32{5 - float32(i)})
		states = append(states, s)
	}
	got, err := l.Nowcast(t.Context(), states, 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float32{"bend": weightedLine(4), "line": 1} {
		if v, err := got.Floats(name); err != nil || distance(v, []float32{want}) > 1e-6 {
			t.Errorf("%s: %v, %v, expected %v", name, v, err, want)
		}
	}
}

// weightedLine minimises Σ t·(a·t + b − y)² over (1, 0), (2, 0), (3, 3): the
// normal equations are 36a + 14b = 27 and 14a + 6b = 9. Its argument counts from
// 0, as the states do.
func weightedLine(t float32) float32 { return 1.8*(t+1) - 2.7 }
