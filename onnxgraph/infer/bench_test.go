package infer_test

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// chain is a model of blocks of ten nodes as exporters write them: a projection
// with its bias, a Reshape by a computed shape, and a residual.
func chain(t testing.TB, blocks int) *onnxgraph.Model {
	t.Helper()
	const width = 16
	b := onnxgraph.NewBuilder("chain", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Sym("time"), onnxgraph.Known(width)})
	for i := range blocks {
		w := b.Init(onnxgraph.Floats(fmt.Sprintf("layers.%d.weight", i), []int64{width, width}, make([]float32, width*width)))
		bias := b.Init(onnxgraph.Floats(fmt.Sprintf("layers.%d.bias", i), []int64{width}, make([]float32, width)))
		h := b.Op("Add", []string{b.Op("MatMul", []string{x, w}), bias})
		shape := b.Op("Shape", []string{h})
		n := b.Op("Gather", []string{shape, b.Const(onnxgraph.Int64s("index", []int64{1}, []int64{0}))}, onnxgraph.IntAttr("axis", 0))
		to := b.Op("Concat", []string{n, b.Const(onnxgraph.Vector("tail", -1, 4, width/4))}, onnxgraph.IntAttr("axis", 0))
		h = b.Op("Transpose", []string{b.Op("Reshape", []string{h, to})}, onnxgraph.IntsAttr("perm", 0, 2, 1, 3))
		h = b.Op("Transpose", []string{h}, onnxgraph.IntsAttr("perm", 0, 2, 1, 3))
		x = b.Op("Add", []string{x, b.Op("Reshape", []string{b.Op("Relu", []string{h}), shape})})
	}
	b.Output(x, onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// benchmarkFiles are the models of the folder or file in NINOX_BENCH_MODELS
// (bench/onnx_load.py sets it), else a chain of 10,000 nodes.
func benchmarkFiles(b *testing.B) []string {
	if env := os.Getenv("NINOX_BENCH_MODELS"); env != "" {
		return filepath.SplitList(env)
	}
	path := filepath.Join(b.TempDir(), "chain.onnx")
	if err := chain(b, 1000).WriteFile(path, onnxgraph.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	return []string{path}
}

// Reading a model and inferring the shapes of all its values: what onnx.load
// and onnx.shape_inference.infer_shapes do. On a machine that does other things
// too, the best run and the processor's time say most.
func BenchmarkReadAndInfer(b *testing.B) {
	for _, path := range benchmarkFiles(b) {
		b.Run(filepath.Base(path), func(b *testing.B) {
			best, cpu := time.Duration(math.MaxInt64), cpuTime()
			for b.Loop() {
				start := time.Now()
				m, err := onnxgraph.ReadFile(path)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := infer.Run(m, ops.Registry(), infer.Options{}); err != nil {
					b.Fatal(err)
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(start))
			}
			b.ReportMetric(float64(best), "best-ns/op")
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, path := range benchmarkFiles(b) {
		b.Run(filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				m, err := onnxgraph.ReadFile(path)
				if err != nil {
					b.Fatal(err)
				}
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Writing a model to memory, and copying it for a change.
func BenchmarkWrite(b *testing.B) {
	for _, path := range benchmarkFiles(b) {
		m, err := onnxgraph.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		defer m.Close()
		b.Run("marshal/"+filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				if _, err := m.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("clone/"+filepath.Base(path), func(b *testing.B) {
			for b.Loop() {
				m.Clone()
			}
		})
	}
}

func BenchmarkStandard(b *testing.B) {
	for _, path := range benchmarkFiles(b) {
		b.Run(filepath.Base(path), func(b *testing.B) {
			m, err := onnxgraph.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			for b.Loop() {
				if _, err := rewrite.Standard(m, ops.Registry()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
