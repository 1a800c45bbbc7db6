package nino

import (
	"math"
	"testing"

	"ninox/onnxgraph"
)

// columnsFrom are float32 columns.
func columnsFrom(values [][]float32) []column {
	var out []column
	for _, v := range values {
		out = append(out, column{onnxgraph.Float, onnxgraph.Floats("", nil, v).Data})
	}
	return out
}

func TestScaling(t *testing.T) {
	states := [][]float32{{1, 2}, {3, 6}, {5, 10}}
	all := scale{4.5, math.Sqrt(53.5 / 5)} // squares 12.25 6.25 2.25 2.25 0.25 30.25
	cases := map[Scaling][2]scale{
		ScaleLayerwise:       {all, all},
		ScaleParameter:       {{3, 2}, {6, 4}},
		ScaleMinMax:          {{0, 9}, {0, 9}},
		ScaleMinMaxParameter: {{0, 4}, {0, 8}},
		ScaleNone:            {{0, 1 - scaleEpsilon}, {0, 1 - scaleEpsilon}},
	}
	for method, want := range cases {
		s := newScaler(method, columnsFrom(states), 2)
		if s.at(0) != want[0] || s.at(1) != want[1] {
			t.Errorf("%s: %v and %v, expected %v", method, s.at(0), s.at(1), want)
		}
	}
	if v := newScaler(ScaleNone, columnsFrom(states), 2).at(0).apply(3); v != 3 {
		t.Errorf("unscaled 3 is %v", v)
	}
	constant := newScaler(ScaleParameter, columnsFrom([][]float32{{1}, {1}, {1}}), 2).at(0)
	if constant.std != scaleFloor {
		t.Errorf("deviation of constants %v, expected the floor %v", constant.std, scaleFloor)
	}
	if one := newScaler(ScaleLayerwise, columnsFrom([][]float32{{2}}), 2).at(0); one != (scale{2, 0}) {
		t.Errorf("scale of one number: %v", one)
	}
}

func TestScalingReference(t *testing.T) {
	f := loadFixture(t, "a_fm16")
	states := f.states(t)
	mean, std := f.floats(t, "scale_mean"), f.floats(t, "scale_std")
	scaled, at := f.floats(t, "scaled_states"), 0
	for i, name := range f.params {
		values, err := history(name, states)
		if err != nil {
			t.Fatal(err)
		}
		s := newScaler(ScaleLayerwise, columnsFrom(values), 2).at(0)
		if d := distance([]float32{float32(s.mean), float32(s.std)}, []float32{mean[i], std[i]}); d > 2e-7 {
			t.Errorf("%s: scale %v, off by %.1e", name, s, d)
		}
		for e := range values[0] {
			for tt, v := range values {
				if d := distance([]float32{s.apply(v[e])}, scaled[at*5+tt:][:1]); d > 7e-6 {
					t.Fatalf("%s, element %d: scaled state off by %.1e", name, e, d)
				}
			}
			at++
		}
	}
}
