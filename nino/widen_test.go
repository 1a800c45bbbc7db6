package nino

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// Without noise a widened network computes what it computed before; with noise,
// nearly so, and no two copies of a unit are equal.
func TestWiden(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, variant := range []string{VariantGNN, VariantMLP} {
		c, err := NewConfig(variant, 16)
		if err != nil {
			t.Fatal(err)
		}
		w := randomWeights(t, rand.New(rand.NewPCG(3, 3)), c)
		g, states := smallTrajectory(t, c.Context)
		x, err := NewExamples(c, g)
		if err != nil {
			t.Fatal(err)
		}
		ex, err := x.Example(states, []*weights.Set{nil}, c.Taps, 100)
		if err != nil {
			t.Fatal(err)
		}
		predict := func(w *Weights) []float32 {
			t.Helper()
			m, err := EdgesModel(w, DefaultOpset)
			if err != nil {
				t.Fatal(err)
			}
			session, err := engine.NewSession(m, ort.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			in := exampleInputs(t, c, ex)
			defer in.close()
			in.ints(&err, inHorizon, []int64{7})
			out, runErr := run(context.Background(), session, in)
			if err != nil || runErr != nil {
				t.Fatal(err, runErr)
			}
			return out[outPred]
		}
		want := predict(w)
		for _, k := range []struct{ noise, within float64 }{{0, 1e-5}, {0.01, 0.2}} {
			wide, err := w.widen(64, k.noise, 1)
			if err != nil {
				t.Fatal(err)
			}
			if wide.Width != 64 || wide.Variant != variant {
				t.Fatalf("%s: widened to %+v", variant, wide.Config)
			}
			worst := 0.0
			for i, v := range predict(wide) {
				worst = max(worst, math.Abs(float64(v-want[i])))
			}
			if worst > k.within || (k.noise > 0 && worst < 1e-4) {
				t.Errorf("%s: with noise %v the widened network differs by %v", variant, k.noise, worst)
			}
			if v, _ := wide.Tensors.Floats("edge_out.fc.0.weight"); variant == VariantGNN && (v[0] == v[16]) != (k.noise == 0) {
				t.Errorf("noise %v: copies read their units by %v and %v", k.noise, v[0], v[16])
			}
		}
		if same, err := w.Widen(16, 1); err != nil || same != w {
			t.Errorf("%s: the present width changes the network (%v)", variant, err)
		}
		if _, err := w.Widen(24, 1); err == nil {
			t.Errorf("%s: width 24 is no multiple of 16 and is not refused", variant)
		}
	}
}
