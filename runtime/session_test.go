package ort_test

import (
	"context"
	"slices"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// addModel is z = x + y on float[n] and s = sum of z, a scalar.
func addModel(t testing.TB) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("add", 17)
	n := onnxgraph.Shape{onnxgraph.Sym("n")}
	x := b.Input("x", onnxgraph.Float, n)
	y := b.Input("y", onnxgraph.Float, n)
	z := b.Named("z", "Add", []string{x, y})
	s := b.Named("s", "ReduceSum", []string{z}, onnxgraph.IntAttr("keepdims", 0))
	b.Output(z, onnxgraph.Float, n)
	b.Output(s, onnxgraph.Float, onnxgraph.StaticShape())
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newSession(t testing.TB, m *onnxgraph.Model) *ort.Session {
	t.Helper()
	s, err := runtimetest.Engine(t).NewSession(m, ort.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func floats(t testing.TB, dims []int64, data ...float32) *ort.Value {
	t.Helper()
	v, err := ort.FloatValue(dims, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func TestRun(t *testing.T) {
	s := newSession(t, addModel(t))
	in := map[string]*ort.Value{"x": floats(t, []int64{3}, 1, 2, 3), "y": floats(t, []int64{3}, 10, 20, 30)}
	out, err := s.Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 2 || !slices.Equal(out["z"].Floats(), []float32{11, 22, 33}) || !slices.Equal(out["z"].Dims(), []int64{3}) {
		t.Errorf("z = %v", out["z"].Floats())
	}
	if got := out["s"]; len(got.Dims()) != 0 || got.Floats()[0] != 66 {
		t.Errorf("s = %v%v, want the scalar 66", got, got.Floats())
	}
}

func newEngine(t testing.TB, threads int) *ort.Engine {
	t.Helper()
	runtimetest.Engine(t) // skips where there is no library
	e, err := ort.Open(context.Background(), ort.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
