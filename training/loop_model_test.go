package training

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
	"ninox/training/data"
)

// mustBound is a data set with a column for each batch input.
func mustBound(t *testing.T, a *Artifacts, d data.Dataset) data.Dataset {
	t.Helper()
	bound, err := data.Bind(d, (&loopBuilder{art: a}).batchInputs())
	if err != nil {
		t.Fatal(err)
	}
	return bound
}

func mustInts(t *testing.T, dims []int64, v ...int64) *ort.Value {
	t.Helper()
	x, err := ort.Int64Value(dims, v)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// N steps in one loop end with the same bits as N runs of the training model,
// each followed by the optimizer model; also where the loop is left and entered
// again with its own outputs.
func TestLoopModel(t *testing.T) {
	c := normConfig(t, ExecutorOptions{})
	a := mustArtifacts(t, normModel(t), ArtifactOptions{Optimizer: Optimizer{Kind: Muon, WeightDecay: 0.1, ClipNorm: 1}, Freeze: []string{"fc.bias"}})
	m, err := a.LoopModel()
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite.Check(m, ops.Registry()); err != nil {
		t.Fatal(err)
	}
	s := mustSession(t, m)
	d := mustBound(t, a, c.Train)
	in := map[string]*ort.Value{}
	for name, v := range mustValues(t, d) {
		in[dataName(name)] = v
	}
	rates := []float32{0.01, 0.02, 0.005}
	rate, err := ort.FloatValue([]int64{3}, rates)
	if err != nil {
		t.Fatal(err)
	}
	// 200 samples make 12 batches of 16: the second part starts over.
	parts := []int64{5, 9}
	in[loopRate], in[loopBatch], in[loopFirst] = rate, mustInts(t, []int64{}, 16), mustInts(t, []int64{1}, 0)
	if in[loopState], err = ort.FloatValue([]int64{0}, nil); err != nil {
		t.Fatal(err)
	}
	separate := newSeparateRun(t, a)
	for _, steps := range parts {
		in[loopSteps] = mustInts(t, []int64{}, steps)
		out, err := s.Run(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		for i := range steps {
			at := int(separate.steps % 12 * 16)
			loss := separate.step(rates[min(i, 2)], sliceValues(t, d, at, 16))
			if got := out[loopLosses].Floats()[i]; got != loss {
				t.Errorf("step %d: loss %v in the loop, %v outside", separate.steps, got, loss)
			}
		}
		for name, v := range out {
			name, carried := strings.CutSuffix(name, ".final")
			switch {
			case name == loopFirst:
				if got := v.Int64s()[0]; got != separate.steps {
					t.Errorf("step %d, expected %d", got, separate.steps)
				}
				in[name] = v
			case name == loopState:
				in[name] = v
			case carried:
				for i, want := range separate.values[name].Floats() {
					if got := v.Floats()[i]; got != want {
						t.Fatalf("%s[%d] is %v in the loop, %v outside", name, i, got, want)
					}
				}
			}
		}
	}
}

func TestLoopModelErrors(t *testing.T) {
	fixed := chain(t, 1, nil)
	fixed.Graph.Inputs[0].Type.Shape[0] = onnxgraph.Known(8)
	a := mustArtifacts(t, fixed, ArtifactOptions{Loss: MSE})
	m, err := a.LoopModel()
	if err != nil || slices.ContainsFunc(m.Graph.Inputs, func(v *onnxgraph.Value) bool { return v.Name == loopBatch }) {
		t.Errorf("a model with a batch size of its own asks for one (%v)", err)
	}
	taken := chain(t, 1, func(b *onnxgraph.Builder, h string) string { return b.Named("steps", "Identity", []string{h}) })
	_, err = mustArtifacts(t, taken, ArtifactOptions{Loss: MSE}).LoopModel()
	if err == nil || !strings.Contains(err.Error(), `a value named "steps"`) {
		t.Errorf("error %v", err)
	}
	b := onnxgraph.NewBuilder("scaled", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n")})
	gain := b.Input("gain", onnxgraph.Float, onnxgraph.Shape{})
	b.Output(b.Op("Mul", []string{b.Op("Mul", []string{x, gain}), b.Init(onnxgraph.Floats("w", []int64{1}, []float32{1}))}), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n")})
	scaled, err1 := b.Model()
	a, err2 := BuildArtifacts(scaled, ops.Registry(), ArtifactOptions{Loss: MSE})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if _, err := a.LoopModel(); err == nil || !strings.Contains(err.Error(), `input "gain" is a scalar`) {
		t.Errorf("error %v", err)
	}
}
