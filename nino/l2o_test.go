package nino

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ninox/internal/testenv"
	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	"ninox/runtime/runtimetest"
)

// l2oGraph is two layers: w has two taps, b lies on a diagonal.
func l2oGraph() *neuralgraph.NiNo {
	span := func(first, count int) neuralgraph.Span { return neuralgraph.Span{First: first, Count: count} }
	return &neuralgraph.NiNo{
		Nodes: 5, Layers: []neuralgraph.Layer{{Name: "in", First: 0, Size: 2}, {Name: "out", First: 2, Size: 3}},
		Blocks: []neuralgraph.Block{
			{Parameter: "w", Type: neuralgraph.EdgeLinear, Source: span(0, 2), Target: span(2, 3), Taps: 2, SourceStride: 2, TargetStride: 4},
			{Parameter: "b", Type: neuralgraph.EdgeBias, Source: span(2, 3), Target: span(2, 3), Diagonal: true, Taps: 1, TargetStride: 1},
		},
	}
}

func l2oSet(w, b []float32) *weights.Set {
	s := &weights.Set{}
	s.AddFloats("w", []int64{3, 2, 2}, w)
	s.AddFloats("b", []int64{3}, b)
	return s
}

func randomL2OSet(rng *rand.Rand) *weights.Set {
	draw := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	return l2oSet(draw(12), draw(3))
}

func newL2O(t *testing.T, w *L2OWeights) *L2O {
	t.Helper()
	o, err := NewL2O(runtimetest.Engine(t), w, l2oGraph())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// somewhere is a network whose output is not zero.
func somewhere(t *testing.T) *L2OWeights {
	t.Helper()
	w, err := InitialL2O(L2OConfig{Width: 4, Rounds: 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(2, 0))
	for i := range w.Vector {
		w.Vector[i] += float32(0.2 * rng.NormFloat64())
	}
	return w
}

func update(t *testing.T, o *L2O, params, grads *weights.Set, lr float64) *weights.Set {
	t.Helper()
	next, err := o.Update(context.Background(), params, grads, lr)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func setFloats(t *testing.T, s *weights.Set, name string) []float32 {
	t.Helper()
	v, err := s.Floats(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// An untrained network is Adam, written out here.
func TestL2OUntrainedIsAdam(t *testing.T) {
	w, err := InitialL2O(L2OConfig{Width: 4, Rounds: 2}, 1)
	if err != nil {
		t.Fatal(err)
	}
	o, rng := newL2O(t, w), rand.New(rand.NewPCG(1, 0))
	params := randomL2OSet(rng)
	const lr = 0.01
	want, m, v := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for _, name := range params.Names() {
		for _, x := range setFloats(t, params, name) {
			want[name] = append(want[name], float64(x))
		}
		m[name], v[name] = make([]float64, len(want[name])), make([]float64, len(want[name]))
	}
	for step := 1.0; step <= 6; step++ {
		grads := randomL2OSet(rng)
		params = update(t, o, params, grads, lr)
		for name := range want {
			got, g := setFloats(t, params, name), setFloats(t, grads, name)
			for i := range got {
				x := float64(g[i])
				m[name][i] = 0.9*m[name][i] + 0.1*x
				v[name][i] = 0.999*v[name][i] + 0.001*x*x
				want[name][i] -= lr * m[name][i] / (1 - math.Pow(0.9, step)) / (math.Sqrt(v[name][i]/(1-math.Pow(0.999, step))) + 1e-8)
				if d := math.Abs(float64(got[i]) - want[name][i]); !(d < 1e-5) {
					t.Fatalf("step %v: %s[%d] is %v, Adam's %v", step, name, i, got[i], want[name][i])
				}
			}
		}
	}
}

// Steps of neurons that change places change places: a network over the graph
// does not depend on the order of neurons.
func TestL2OEquivariance(t *testing.T) {
	w, rng := somewhere(t), rand.New(rand.NewPCG(3, 0))
	params, grads := randomL2OSet(rng), randomL2OSet(rng)
	permuted := func(s *weights.Set) *weights.Set {
		w, b := setFloats(t, s, "w"), setFloats(t, s, "b")
		var pw, pb []float32
		for _, j := range []int{2, 0, 1} {
			pw, pb = append(pw, w[4*j:4*j+4]...), append(pb, b[j])
		}
		return l2oSet(pw, pb)
	}
	want := permuted(update(t, newL2O(t, w), params, grads, 0.1))
	got := update(t, newL2O(t, w), permuted(params), permuted(grads), 0.1)
	for _, name := range want.Names() {
		if d := distance(setFloats(t, got, name), setFloats(t, want, name)); d > 1e-6 {
			t.Errorf("%s: %v off", name, d)
		}
	}
}

// A step sees the whole graph: the gradient of a bias changes the steps of
// weights nearby.
func TestL2OMessages(t *testing.T) {
	w, rng := somewhere(t), rand.New(rand.NewPCG(4, 0))
	params, grads := randomL2OSet(rng), randomL2OSet(rng)
	a := update(t, newL2O(t, w), params, grads, 0.1)
	grads = l2oSet(setFloats(t, grads, "w"), []float32{-3, 5, 1})
	params = l2oSet(setFloats(t, params, "w"), []float32{1, -20, 0.1})
	b := update(t, newL2O(t, w), params, grads, 0.1)
	if slices.Equal(setFloats(t, a, "w"), setFloats(t, b, "w")) {
		t.Error("steps of weights do not depend on biases")
	}
}

// A restored state continues with the same bits.
func TestL2OState(t *testing.T) {
	w, rng := somewhere(t), rand.New(rand.NewPCG(5, 0))
	o, params := newL2O(t, w), randomL2OSet(rng)
	for range 3 {
		params = update(t, o, params, randomL2OSet(rng), 0.1)
	}
	again := newL2O(t, w)
	if err := again.SetState(o.State()); err != nil {
		t.Fatal(err)
	}
	grads := randomL2OSet(rng)
	a, b := update(t, o, params, grads, 0.1), update(t, again, params, grads, 0.1)
	for _, name := range a.Names() {
		if !slices.Equal(setFloats(t, a, name), setFloats(t, b, name)) {
			t.Errorf("%s differs", name)
		}
	}
	if err := again.SetState(params); err == nil || !strings.Contains(err.Error(), `state of l2o: array "l2o.mean0" is missing`) {
		t.Errorf("a foreign state: %v", err)
	}
}

func TestL2OFiles(t *testing.T) {
	w, path := somewhere(t), filepath.Join(t.TempDir(), "l2o.safetensors")
	if err := w.Write(path, false); err != nil {
		t.Fatal(err)
	}
	got, err := ReadL2O(path)
	if err != nil || got.L2OConfig != w.L2OConfig || !slices.Equal(got.Vector, w.Vector) {
		t.Errorf("read %+v, %v", got, err)
	}
	if _, err := ReadL2O(testenv.Shared(t, "fixtures/weights/nino_no_posw.safetensors")); err == nil || !strings.Contains(err.Error(), "no weights of a learned optimizer") {
		t.Errorf("NiNo's weights: %v", err)
	}
	if _, err := ReadWeights(path); err == nil {
		t.Error("NiNo takes the weights of a learned optimizer")
	}
	set, meta, err := weights.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"width":5,"rounds":2}`: `"values.weight" has shape (4, 7), expected [5 7]`,
		`{"width":0,"rounds":2}`: "width 0",
		`{`:                      l2oKey,
	} {
		meta[l2oKey] = text
		if _, err := l2oFrom(set, meta); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", text, err, want)
		}
	}
}

func TestL2ORefuses(t *testing.T) {
	o := newL2O(t, somewhere(t))
	good := randomL2OSet(rand.New(rand.NewPCG(6, 0)))
	few := &weights.Set{}
	few.AddFloats("w", []int64{3, 2, 2}, make([]float32, 12))
	if _, err := o.Update(t.Context(), few, good, 0.1); err == nil || !strings.Contains(err.Error(), "1 parameters, the neural graph has 2") {
		t.Errorf("a missing parameter: %v", err)
	}
	if _, err := o.Update(t.Context(), l2oSet(make([]float32, 12), make([]float32, 3)), few, 0.1); err == nil || !strings.Contains(err.Error(), `"b" is missing`) {
		t.Errorf("a missing gradient: %v", err)
	}
}
