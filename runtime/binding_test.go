package ort_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// sgd is w' = w − rate·g.
func sgd(t testing.TB) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("sgd", 17)
	shape := onnxgraph.StaticShape(3)
	w, g := b.Input("w", onnxgraph.Float, shape), b.Input("g", onnxgraph.Float, shape)
	rate := b.Input("rate", onnxgraph.Float, onnxgraph.StaticShape())
	b.Output(b.Named("w_next", "Sub", []string{w, b.Op("Mul", []string{rate, g})}), onnxgraph.Float, shape)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newBinding(t testing.TB, s *ort.Session) *ort.Binding {
	t.Helper()
	b, err := s.Bind()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// TestBindingInPlace takes steps between two buffers that stay bound; what
// changes from step to step is written into the bound memory.
func TestBindingInPlace(t *testing.T) {
	s := newSession(t, sgd(t))
	sides := [2]*ort.Value{floats(t, []int64{3}, 1, 2, 3), floats(t, []int64{3}, 0, 0, 0)}
	g, rate := floats(t, []int64{3}, 0, 0, 0), floats(t, nil, 0)
	var b [2]*ort.Binding
	for i := range b {
		b[i] = newBinding(t, s)
		err := errors.Join(b[i].Input("w", sides[i]), b[i].Input("g", g), b[i].Input("rate", rate), b[i].Output("w_next", sides[1-i]))
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []float32{1, 2, 3}
	for step := range 10 {
		rate.Floats()[0] = 1 / float32(step+1)
		for i := range want {
			g.Floats()[i] = float32(i - step)
			want[i] -= rate.Floats()[0] * g.Floats()[i]
		}
		runtime.GC() // whatever moved or was freed would show
		if err := b[step%2].Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := sides[1-step%2].Floats(); !slices.Equal(got, want) {
			t.Fatalf("step %d: %v, want %v", step, got, want)
		}
	}
}

func TestRebinding(t *testing.T) {
	s := newSession(t, addModel(t))
	b := newBinding(t, s)
	x, y, z := floats(t, []int64{1}, 1), floats(t, []int64{1}, 10), floats(t, []int64{1}, 0)
	if err := errors.Join(b.Input("x", x), b.Input("y", y), b.Output("z", z)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ x, y, want float32 }{{1, 10, 11}, {2, 20, 22}} {
		if err := errors.Join(b.Input("x", floats(t, []int64{1}, c.x)), b.Input("y", floats(t, []int64{1}, c.y))); err != nil {
			t.Fatal(err)
		}
		if err := b.Run(context.Background()); err != nil || z.Floats()[0] != c.want {
			t.Errorf("z = %v, error %v, want %v", z.Floats()[0], err, c.want)
		}
	}
	// Longer vectors in every place, output included.
	x, z = floats(t, []int64{2}, 3, 4), floats(t, []int64{2}, 0, 0)
	if err := errors.Join(b.Input("x", x), b.Input("y", x), b.Output("z", z), b.Run(context.Background())); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(z.Floats(), []float32{6, 8}) {
		t.Errorf("z = %v", z.Floats())
	}
}

func TestBindingErrors(t *testing.T) {
	s := newSession(t, addModel(t))
	b := newBinding(t, s)
	x := floats(t, []int64{2}, 1, 2)
	ints, err := ort.Int64Value([]int64{2}, make([]int64, 2))
	if err != nil {
		t.Fatal(err)
	}
	run := func() error { return b.Run(context.Background()) }
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"nothing bound", run, `session "add": input "x", "y" not given`},
		{"unknown input", func() error { return b.Input("q", x) }, `session "add": no input "q", the model has "x", "y"`},
		{"unknown output", func() error { return b.Output("q", x) }, `session "add": no output "q", the model has "z", "s"`},
		{"input type", func() error { return b.Input("x", ints) }, `session "add": input "x": int64[2], expected float[n]`},
		{"output rank", func() error { return b.Output("s", x) }, `session "add": output "s": float[2], expected float[]`},
		{"no value", func() error { return b.Input("x", nil) }, `session "add": input "x": no value`},
		{"one input missing", func() error { return errors.Join(b.Input("x", x), run()) }, `input "y" not given`},
		{"no output", func() error { return errors.Join(b.Input("y", x), run()) }, `output "z", "s" not given`},
		{"output shape", func() error { return errors.Join(b.Output("z", floats(t, []int64{3}, 0, 0, 0)), run()) }, `session "add": run: ONNX Runtime:`},
		{"right", func() error { return errors.Join(b.Output("z", floats(t, []int64{2}, 0, 0)), run()) }, ""},
	} {
		err := c.do()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestBindingRunDoesNotAllocate guards the cost of a training step.
func TestBindingRunDoesNotAllocate(t *testing.T) {
	s := newSession(t, addModel(t))
	b := newBinding(t, s)
	x, z := floats(t, []int64{1}, 1), floats(t, []int64{1}, 0)
	if err := errors.Join(b.Input("x", x), b.Input("y", x), b.Output("z", z)); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if err := errors.Join(b.Input("x", x), b.Run(context.Background())); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per run, want none", n)
	}
}
