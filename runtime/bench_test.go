package ort_test

import (
	"context"
	"fmt"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// copies is a model of n inputs x0 … and n outputs y0 … that do as good as
// nothing, as many values as a training step of a small network has.
func copies(t testing.TB, n int) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("copies", 17)
	shape := onnxgraph.StaticShape(4)
	for i := range n {
		x := b.Input(fmt.Sprintf("x%d", i), onnxgraph.Float, shape)
		b.Output(b.Named(fmt.Sprintf("y%d", i), "Neg", []string{x}), onnxgraph.Float, shape)
	}
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func bound(b *testing.B, n int) *ort.Binding {
	b.Helper()
	s, err := newEngine(b, 1).NewSession(copies(b, n), ort.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	bind, err := s.Bind()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(bind.Close)
	for i := range n {
		if err := bind.Input(fmt.Sprintf("x%d", i), floats(b, []int64{4}, 1, 2, 3, 4)); err != nil {
			b.Fatal(err)
		}
		if err := bind.Output(fmt.Sprintf("y%d", i), floats(b, []int64{4}, 0, 0, 0, 0)); err != nil {
			b.Fatal(err)
		}
	}
	return bind
}

func BenchmarkBindingRun(b *testing.B) {
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"background", context.Background()}, {"cancellable", cancellable}} {
		for _, n := range []int{1, 20} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				bind := bound(b, n)
				b.ReportAllocs()
				for b.Loop() {
					if err := bind.Run(c.ctx); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRebind binds two other inputs before each run, as each step of
// training does with its batch.
func BenchmarkRebind(b *testing.B) {
	bind := bound(b, 20)
	var batches [2][2]*ort.Value
	for i := range batches {
		for j := range batches[i] {
			batches[i][j] = floats(b, []int64{4}, 1, 2, 3, 4)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j, name := range []string{"x0", "x1"} {
			if err := bind.Input(name, batches[i%2][j]); err != nil {
				b.Fatal(err)
			}
		}
		if err := bind.Run(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSessionRun(b *testing.B) {
	const n = 20
	s, err := newEngine(b, 1).NewSession(copies(b, n), ort.SessionOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	in := map[string]*ort.Value{}
	for i := range n {
		in[fmt.Sprintf("x%d", i)] = floats(b, []int64{4}, 1, 2, 3, 4)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Run(context.Background(), in); err != nil {
			b.Fatal(err)
		}
	}
}
