package analysis

import (
	"context"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
)

// Points on a line through (1, 2, 2)/3, at 0, 1 and 5, have one component with
// all the variance: distances stay, the middle is 2.
func TestProjectLine(t *testing.T) {
	var rows [][]float32
	for _, s := range []float32{0, 1, 5} {
		rows = append(rows, []float32{7 + s/3, 1 + 2*s/3, 2 * s / 3})
	}
	p, err := Project(rows)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{-2, -1, 3} {
		if math.Abs(p.Points[i][0]-want) > 1e-5 || math.Abs(p.Points[i][1]) > 1e-3 {
			t.Errorf("point %d at %v, expected %v", i, p.Points[i], want)
		}
	}
	if math.Abs(p.Explained[0]-1) > 1e-6 || p.Explained[1] > 1e-6 {
		t.Errorf("explained %v", p.Explained)
	}
}

// Both ways to the components agree, and distances between points of a plane
// stay as they are in any number of dimensions.
func TestProjectKeepsPlanes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{6, 40}, {40, 6}} {
		n, d := shape[0], shape[1]
		u, v := make([]float64, d), make([]float64, d)
		u[0], v[1], v[d-1] = 1, 0.6, 0.8
		rows, plane := make([][]float32, n), make([][2]float64, n)
		for i := range n {
			plane[i] = [2]float64{3 * rng.NormFloat64(), rng.NormFloat64()}
			rows[i] = make([]float32, d)
			for k := range d {
				rows[i][k] = float32(plane[i][0]*u[k] + plane[i][1]*v[k])
			}
		}
		p, err := Project(rows)
		if err != nil {
			t.Fatal(err)
		}
		distance := func(a, b [2]float64) float64 { return math.Hypot(a[0]-b[0], a[1]-b[1]) }
		for i := range n {
			if got, want := distance(p.Points[i], p.Points[0]), distance(plane[i], plane[0]); math.Abs(got-want) > 1e-4 {
				t.Errorf("%v: point %d is %v from the first, expected %v", shape, i, got, want)
			}
		}
		if s := p.Explained[0] + p.Explained[1]; math.Abs(s-1) > 1e-6 || p.Explained[0] < p.Explained[1] {
			t.Errorf("%v: explained %v", shape, p.Explained)
		}
		for c := range 2 {
			if p.Points[n-1][c] < p.Points[0][c] {
				t.Errorf("%v: component %d runs backwards", shape, c)
			}
		}
	}
}

func TestProjectRefuses(t *testing.T) {
	for _, rows := range [][][]float32{{}, {{1}}, {{1}, {1, 2}}, {{1, 2}, {float32(math.NaN()), 1}}} {
		if p, err := Project(rows); err == nil && !math.IsNaN(p.Points[0][0]) {
			t.Errorf("%v: %+v", rows, p)
		}
	}
	if p, err := Project([][]float32{{1, 2}, {1, 2}}); err != nil || p.Explained != [2]float64{} {
		t.Errorf("equal rows: %+v, %v", p, err)
	}
}

// ahead adds slope·k to the newest state.
type ahead struct{ slope float32 }

func (ahead) Name() string { return "ahead" }
func (ahead) Context() int { return 5 }
func (a ahead) Nowcast(_ context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	out := states[4].Clone()
	for _, name := range out.Names() {
		v, err := out.Floats(name)
		if err != nil {
			return nil, err
		}
		moved := make([]float32, len(v))
		for i := range v {
			moved[i] = v[i] + a.slope*float32(k)
		}
		out.AddFloats(name, []int64{int64(len(v))}, moved)
	}
	return out, nil
}

// Parameters that rise by 1 per state, with a deviation of 2: "no change" is k/2
// off at horizon k, the right slope not at all, half of it k/4.
func TestForecastErrors(t *testing.T) {
	var states []*weights.Set
	for i := range 12 {
		s := &weights.Set{}
		s.AddFloats("w", []int64{2}, []float32{float32(i) - 2, float32(i) + 2})
		s.AddFloats("flat", []int64{2}, []float32{3, 3}) // no deviation: not counted
		states = append(states, s)
	}
	types := map[string]neuralgraph.EdgeType{"w": neuralgraph.EdgeConv, "flat": neuralgraph.EdgeBias}
	for slope, each := range map[float32]float64{0: 0.5, 0.5: 0.25, 1: 0} {
		got, err := ForecastErrors(t.Context(), []Forecaster{ahead{slope}}, states, []int{1, 2, 7, 8}, types)
		want := []Errors{{"ahead", neuralgraph.EdgeConv, []int{1, 2, 7}, []float64{each, 2 * each, 7 * each}}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("slope %v: %+v, %v, expected %+v", slope, got, err, want)
		}
	}
	got, err := ForecastErrors(t.Context(), []Forecaster{Unchanged{}}, states, []int{4}, types)
	if err != nil || len(got) != 1 || got[0].Mean[0] != 2 || got[0].Forecast != "no change" {
		t.Errorf("%+v, %v", got, err)
	}
	delete(types, "w")
	types["gone"] = neuralgraph.EdgeConv
	if _, err := ForecastErrors(t.Context(), []Forecaster{Unchanged{}}, states, []int{1}, types); err == nil {
		t.Error("a parameter that no state has is judged")
	}
}

func TestTypesOf(t *testing.T) {
	g := &neuralgraph.NiNo{Blocks: []neuralgraph.Block{
		{Parameter: "w", Type: neuralgraph.EdgeConv}, {Parameter: "w", Type: neuralgraph.EdgeBias}, {Type: neuralgraph.EdgeHead},
	}}
	if got := TypesOf(g); !reflect.DeepEqual(got, map[string]neuralgraph.EdgeType{"w": neuralgraph.EdgeConv}) {
		t.Errorf("%v", got)
	}
}
