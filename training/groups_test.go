package training

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
)

// varied is a model with every kind of use of a weight: a kernel, matrices on
// both sides, an embedding that is also the output layer, a gain and a bias.
func varied(t *testing.T) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("varied", 17)
	at := uint64(0)
	weight := func(name string, dims ...int64) string {
		v := make([]float32, Param{Dims: dims}.Len())
		for i := range v {
			v[i] = float32(symmetric(at))
			at++
		}
		return b.Init(onnxgraph.Floats(name, dims, v))
	}
	batch := onnxgraph.Sym("batch")
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(2), onnxgraph.Known(1), onnxgraph.Known(4)})
	ids := b.Input("ids", onnxgraph.Int64, onnxgraph.Shape{batch})
	h := b.Op("Flatten", []string{b.Op("Conv", []string{x, weight("kernel", 3, 2, 1, 2), weight("kernel.bias", 3)})})
	h = b.Op("MatMul", []string{h, weight("inout", 9, 4)})
	h = b.Op("Gemm", []string{h, weight("outin", 5, 4), weight("row", 1, 5)}, onnxgraph.IntAttr("transB", 1))
	table := weight("table", 7, 5)
	h = b.Op("Mul", []string{b.Op("Add", []string{h, b.Op("Gather", []string{table, ids})}), weight("gain", 5)})
	h = b.Op("Gemm", []string{h, table}, onnxgraph.IntAttr("transB", 1))
	b.Output(b.Named("y", "Identity", []string{h}), onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(7)})
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGroups(t *testing.T) {
	o := ArtifactOptions{
		Optimizer: Optimizer{Kind: Muon, WeightDecay: 0.1}, DecayMatricesOnly: true, NoDecay: []string{"kernel"}, NoMuon: []string{"out*"},
	}
	a := mustArtifacts(t, varied(t), o)
	want := map[string]Group{
		"kernel": {NoDecay: true, Matrix: OutIn}, "kernel.bias": {NoDecay: true}, "inout": {Matrix: InOut},
		"outin": {}, "row": {NoDecay: true}, "table": {}, "gain": {NoDecay: true},
	}
	got := map[string]Group{}
	for _, p := range a.Params {
		got[p.Name] = p.Group
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("groups %+v, expected %+v", got, want)
	}
	dir := t.TempDir()
	if err := a.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	back, err := LoadArtifacts(dir)
	if err != nil || !reflect.DeepEqual(back.Params, a.Params) {
		t.Errorf("read back as %+v, %v", back.Params, err)
	}
}

// Steps of the executor, whose vectors join parameters of one group, are those
// of the optimizer model run parameter by parameter.
func TestExecutorKeepsGroupsApart(t *testing.T) {
	for _, o := range []ArtifactOptions{
		{Optimizer: Optimizer{Kind: Muon, WeightDecay: 0.5}, DecayMatricesOnly: true},
		{Optimizer: Optimizer{WeightDecay: 0.5}, DecayMatricesOnly: true},
		{Optimizer: Optimizer{Kind: SGD, WeightDecay: 0.5, Momentum: 0.9, Dampening: 0.5}, NoDecay: []string{"table"}},
		{Optimizer: Optimizer{Kind: Lion, WeightDecay: 0.5}, NoDecay: []string{"*"}},
	} {
		t.Run(o.Optimizer.withDefaults().String(), func(t *testing.T) {
			a := mustArtifacts(t, varied(t), o)
			e := mustExecutor(t, a, ExecutorOptions{Workers: 1})
			v := make([]float32, 24)
			for i := range v {
				v[i] = float32(symmetric(uint64(1000 + i)))
			}
			x, err1 := ort.FloatValue([]int64{3, 2, 1, 4}, v)
			ids, err2 := ort.Int64Value([]int64{3}, []int64{6, 0, 3})
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			batch := map[string]*ort.Value{"x": x, "ids": ids, "labels": ids}
			separate := newSeparateRun(t, a)
			for range 3 {
				if _, err := e.Step(context.Background(), batch, 0.01); err != nil {
					t.Fatal(err)
				}
				separate.step(0.01, batch)
			}
			separate.check(e, 1e-6)
		})
	}
}

func TestGroupErrors(t *testing.T) {
	for _, c := range []struct {
		want string
		o    ArtifactOptions
	}{
		{`glob "conv*" matches no parameter`, ArtifactOptions{NoDecay: []string{"conv*"}}},
		{`glob "*bias" matches no parameter that it could concern`, ArtifactOptions{Optimizer: Optimizer{Kind: Muon}, NoMuon: []string{"*bias"}}},
		{"left out of muon, but the optimizer is adamw", ArtifactOptions{NoMuon: []string{"table"}}},
		{`glob "[a"`, ArtifactOptions{NoDecay: []string{"[a"}}},
	} {
		if _, err := BuildArtifacts(varied(t), ops.Registry(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected %q", err, c.want)
		}
	}
	params := []Param{{Name: "a", Dims: []int64{3}}}
	for _, text := range []string{"{", `{"a":{"matrix":"out-in"}}`, `{"a":{"matrix":"diagonal"}}`} {
		if err := decodeGroups(params, text); err == nil || !strings.Contains(err.Error(), "groups of parameters") {
			t.Errorf("%s: error %v", text, err)
		}
	}
}
