package text_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/text"
)

// heavy is a model of a million weights.
func heavy() *onnxgraph.Model {
	rng := rand.New(rand.NewPCG(1, 2))
	w := make([]float32, 1<<20)
	for i := range w {
		w[i] = float32(rng.NormFloat64())
	}
	m := text.MustParse("g (float[N] x) => (float[N] y) { y = Neg (x) }")
	m.Graph.Initializers = []*onnxgraph.Tensor{onnxgraph.Floats("w", []int64{1 << 20}, w)}
	return m
}

func BenchmarkPrint(b *testing.B) {
	m := heavy()
	b.SetBytes(4 << 20)
	for b.Loop() {
		if err := text.Print(io.Discard, m, text.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var src bytes.Buffer
	if err := text.Print(&src, heavy(), text.Options{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(4 << 20)
	for b.Loop() {
		if _, err := text.Parse(src.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
}
