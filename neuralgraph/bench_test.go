package neuralgraph_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"ninox/neuralgraph"
	"ninox/neuralgraph/graphtest"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

// BenchmarkGPT2 is the graph and the positions of the paper's GPT-2 with 3
// blocks of width 64 and the whole vocabulary: 3.5 million edges.
func BenchmarkGPT2(b *testing.B) {
	m, err := graphtest.GPT2(3, 64, 4, 50257).Model()
	if err != nil {
		b.Fatal(err)
	}
	benchmarkGraph(b, func() (*onnxgraph.Model, error) { return m, nil })
}

// BenchmarkLlama1B is the same for a Llama of 1.2 billion parameters in 24
// blocks, with grouped queries, read from a file whose weights lie in another
// one, which is never read.
func BenchmarkLlama1B(b *testing.B) {
	path := writeLlama(b, graphtest.Transformer{Llama: true, Layers: 24, Width: 2048, Heads: 32, KVHeads: 8, Hidden: 5632, Vocabulary: 32000})
	benchmarkGraph(b, func() (*onnxgraph.Model, error) { return onnxgraph.ReadFile(path) })
}

// BenchmarkLlamaSmall has the structure of BenchmarkLlama1B with 1/1000 of its
// parameters: the ratio of the two says what their number costs.
func BenchmarkLlamaSmall(b *testing.B) {
	path := writeLlama(b, graphtest.Transformer{Llama: true, Layers: 24, Width: 64, Heads: 32, KVHeads: 8, Hidden: 176, Vocabulary: 1000})
	benchmarkGraph(b, func() (*onnxgraph.Model, error) { return onnxgraph.ReadFile(path) })
}

// writeLlama writes a model whose weights are a hole in a file.
func writeLlama(tb testing.TB, t graphtest.Transformer) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "llama.onnx")
	end := int64(0)
	t.Weight = func(name string, dims []int64) *onnxgraph.Tensor {
		n := int64(4)
		for _, d := range dims {
			n *= d
		}
		e := &onnxgraph.External{Location: "weights.bin", Offset: end, Length: n}
		end += n
		return &onnxgraph.Tensor{Name: name, DType: onnxgraph.Float, Dims: dims, External: e}
	}
	m, err := t.Model()
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := m.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Create(filepath.Join(filepath.Dir(path), "weights.bin"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(end); err != nil {
		tb.Fatal(err)
	}
	return path
}

// TestMemoryDoesNotGrowWithWeights: the graph of a billion parameters, and that
// of millions of edges, with positions, take some megabytes.
func TestMemoryDoesNotGrowWithWeights(t *testing.T) {
	small, err := graphtest.GPT2(3, 64, 4, 50257).Model()
	if err != nil {
		t.Fatal(err)
	}
	path := writeLlama(t, graphtest.Transformer{Llama: true, Layers: 6, Width: 2048, Heads: 32, KVHeads: 8, Hidden: 5632, Vocabulary: 32000})
	for _, c := range []struct {
		name       string
		read       func() (*onnxgraph.Model, error)
		parameters int64
		limit      uint64 // bytes allocated, all together
	}{
		{"gpt2", func() (*onnxgraph.Model, error) { return small, nil }, 3.4e6, 20e6},
		{"llama", func() (*onnxgraph.Model, error) { return onnxgraph.ReadFile(path) }, 3.9e8, 60e6},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		g := analysed(t, m)
		n, err := g.NiNo(nil)
		if err != nil {
			t.Fatal(err)
		}
		n.Positions()
		runtime.ReadMemStats(&after)
		total := int64(0)
		for i := range g.Parameters {
			total += g.Parameters[i].Elements()
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > c.limit || total < c.parameters {
			t.Errorf("%s: %d bytes for the graph of %d parameters, expected at most %d", c.name, used, total, c.limit)
		}
	}
}

// benchmarkGraph reports, besides time and allocations, the heap that one
// result occupies.
func benchmarkGraph(b *testing.B, read func() (*onnxgraph.Model, error)) {
	b.ReportAllocs()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var n *neuralgraph.NiNo
	var g *neuralgraph.Graph
	var pos []float32
	for b.Loop() {
		m, err := read()
		if err != nil {
			b.Fatal(err)
		}
		if g, err = neuralgraph.Analyse(m, ops.Registry()); err != nil {
			b.Fatal(err)
		}
		if n, err = g.NiNo(nil); err != nil {
			b.Fatal(err)
		}
		pos = n.Positions()
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc))/1e6, "MB-held")
	b.ReportMetric(float64(n.Summary().Edges)/1e6, "Medges")
	runtime.KeepAlive(g)
	runtime.KeepAlive(pos)
}
