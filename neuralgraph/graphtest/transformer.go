// Package graphtest builds language models for tests and benchmarks of neural
// graphs, with the operators that exporters write.
package graphtest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"ninox/onnxgraph"
)

// Transformer describes a decoder: GPT-2 (packed projections, learned
// positions, biases, a tied output) or Llama (grouped queries, rotary positions,
// RMS norms, gated layers, an output of its own).
type Transformer struct {
	Llama      bool
	Layers     int
	Width      int64
	Heads      int64
	KVHeads    int64 // of Llama
	Hidden     int64 // of the feed-forward layers
	Vocabulary int64
	Positions  int64 // of GPT-2

	// Weight makes the parameters; nil: normal numbers, seeded by the name.
	Weight func(name string, dims []int64) *onnxgraph.Tensor
}

// GPT2 is the paper's language model of the given depth and width, for a vocabulary
// of the given size.
func GPT2(layers int, width, heads, vocabulary int64) Transformer {
	return Transformer{Layers: layers, Width: width, Heads: heads, Hidden: 4 * width, Vocabulary: vocabulary, Positions: 1024}
}

// Model builds the network: input_ids int64 [batch, time], logits float
// [batch, time, Vocabulary].
func (t Transformer) Model() (*onnxgraph.Model, error) {
	b := &builder{Builder: onnxgraph.NewBuilder("transformer", 17), t: t}
	ids := b.Input("input_ids", onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Sym("time")})
	if t.Llama {
		b.llama(ids)
	} else {
		b.gpt2(ids)
	}
	m, err := b.Model()
	if err != nil {
		return nil, fmt.Errorf("transformer: %w", err)
	}
	return m, nil
}

type builder struct {
	*onnxgraph.Builder
	t Transformer
}

// Normal draws the weights of a layer: standard deviation 1/√inputs.
func Normal(name string, dims []int64) *onnxgraph.Tensor {
	seed := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		seed = (seed ^ uint64(c)) * 1099511628211
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	scale := 1 / math.Sqrt(float64(dims[len(dims)-1]))
	if len(dims) == 1 {
		scale = 0.3
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(scale * rng.NormFloat64())
	}
	return onnxgraph.Floats(name, dims, v)
}

func (b *builder) weight(name string, dims ...int64) string {
	if b.t.Weight != nil {
		return b.Init(b.t.Weight(name, dims))
	}
	return b.Init(Normal(name, dims))
}

func (b *builder) ints(v ...int64) string { return b.Const(onnxgraph.Vector("", v...)) }

func (b *builder) number(v float32) string { return b.Const(onnxgraph.Scalar("", v)) }

func (b *builder) bin(op, x, y string) string { return b.Op(op, []string{x, y}) }

func (b *builder) reshape(x string, shape ...int64) string {
	return b.bin("Reshape", x, b.ints(shape...))
}

func (b *builder) transpose(x string, perm ...int64) string {
	return b.Op("Transpose", []string{x}, onnxgraph.IntsAttr("perm", perm...))
}

// split cuts [batch, time, heads·dim] into heads: [batch, heads, time, dim].
func (b *builder) split(x string, heads int64) string {
	return b.transpose(b.reshape(x, 0, 0, heads, b.t.Width/b.t.Heads), 0, 2, 1, 3)
}

// length is the number of tokens, as a scalar and as a vector.
func (b *builder) length(ids string) (scalar, vector string) {
	shape := b.Op("Shape", []string{ids})
	vector = b.Op("Slice", []string{shape, b.ints(1), b.ints(2), b.ints(0)})
	return b.bin("Squeeze", vector, b.ints(0)), vector
}

func (b *builder) integer(v int64) string {
	return b.Const(onnxgraph.Int64s("", []int64{}, []int64{v}))
}

// steps are the numbers of the tokens, int64 [time].
func (b *builder) steps(ids string) string {
	n, _ := b.length(ids)
	return b.Op("Range", []string{b.integer(0), n, b.integer(1)})
}

// causal says, for every pair of places, whether the first sees the second.
func (b *builder) causal(steps string) string {
	return b.bin("GreaterOrEqual", b.bin("Unsqueeze", steps, b.ints(1)), b.bin("Unsqueeze", steps, b.ints(0)))
}

// attend is causal attention of [batch, heads, time, dim] values; the result is
// [batch, time, heads·dim].
func (b *builder) attend(q, k, v, seen string) string {
	s := b.bin("Div", b.bin("MatMul", q, b.transpose(k, 0, 1, 3, 2)), b.number(float32(math.Sqrt(float64(b.t.Width/b.t.Heads)))))
	s = b.Op("Where", []string{seen, s, b.number(-1e9)})
	p := b.Op("Softmax", []string{s}, onnxgraph.IntAttr("axis", -1))
	return b.reshape(b.transpose(b.bin("MatMul", p, v), 0, 2, 1, 3), 0, 0, b.t.Width)
}

func (b *builder) gpt2(ids string) {
	t := b.t
	dense := func(x, name string, in, out int64) string {
		return b.bin("Add", b.bin("MatMul", x, b.weight(name+".weight", in, out)), b.weight(name+".bias", out))
	}
	norm := func(x, name string) string {
		return b.Op("LayerNormalization", []string{x, b.weight(name+".weight", t.Width), b.weight(name+".bias", t.Width)}, onnxgraph.FloatAttr("epsilon", 1e-5))
	}
	steps := b.steps(ids)
	seen := b.causal(steps)
	words := b.weight("transformer.wte.weight", t.Vocabulary, t.Width)
	x := b.bin("Add", b.bin("Gather", words, ids), b.bin("Gather", b.weight("transformer.wpe.weight", t.Positions, t.Width), steps))
	for i := range t.Layers {
		block := fmt.Sprintf("transformer.h.%d.", i)
		qkv := dense(norm(x, block+"ln_1"), block+"attn.c_attn", t.Width, 3*t.Width)
		parts := b.OpN("Split", []string{qkv, b.ints(t.Width, t.Width, t.Width)}, 3, onnxgraph.IntAttr("axis", 2))
		c := b.attend(b.split(parts[0], t.Heads), b.split(parts[1], t.Heads), b.split(parts[2], t.Heads), seen)
		x = b.bin("Add", dense(c, block+"attn.c_proj", t.Width, t.Width), x)
		h := dense(norm(x, block+"ln_2"), block+"mlp.c_fc", t.Width, t.Hidden)
		h = b.bin("Mul", h, b.Op("Sigmoid", []string{b.bin("Mul", h, b.number(1.702))}))
		x = b.bin("Add", x, dense(h, block+"mlp.c_proj", t.Hidden, t.Width))
	}
	b.logits(b.bin("MatMul", norm(x, "transformer.ln_f"), b.transpose(words, 1, 0)))
}

func (b *builder) llama(ids string) {
	t := b.t
	dim := t.Width / t.Heads
	dense := func(x, name string, in, out int64) string {
		return b.bin("MatMul", x, b.transpose(b.weight(name+".weight", out, in), 1, 0))
	}
	norm := func(x, name string) string {
		square := b.Op("ReduceMean", []string{b.bin("Pow", x, b.number(2))}, onnxgraph.IntsAttr("axes", -1))
		r := b.Op("Sqrt", []string{b.bin("Add", square, b.number(1e-6))})
		return b.bin("Mul", b.weight(name+".weight", t.Width), b.bin("Div", x, r))
	}
	steps := b.steps(ids)
	seen := b.causal(steps)
	cos, sin := b.rotary(steps, dim)
	turn := func(x string) string {
		lo := b.Op("Slice", []string{x, b.ints(0), b.ints(dim / 2), b.ints(3)})
		hi := b.Op("Slice", []string{x, b.ints(dim / 2), b.ints(dim), b.ints(3)})
		other := b.Op("Concat", []string{b.Op("Neg", []string{hi}), lo}, onnxgraph.IntAttr("axis", 3))
		return b.bin("Add", b.bin("Mul", x, cos), b.bin("Mul", other, sin))
	}
	_, length := b.length(ids)
	spread := b.Op("Concat", []string{b.ints(1, 1, t.Heads/t.KVHeads), length, b.ints(dim)}, onnxgraph.IntAttr("axis", 0))
	shared := func(x string) string { // every key head serves several query heads
		x = b.bin("Expand", b.bin("Unsqueeze", x, b.ints(2)), spread)
		return b.bin("Reshape", x, b.Op("Concat", []string{b.ints(0, t.Heads), length, b.ints(dim)}, onnxgraph.IntAttr("axis", 0)))
	}
	x := b.bin("Gather", b.weight("model.embed_tokens.weight", t.Vocabulary, t.Width), ids)
	for i := range t.Layers {
		block := fmt.Sprintf("model.layers.%d.", i)
		h := norm(x, block+"input_layernorm")
		q := turn(b.split(dense(h, block+"self_attn.q_proj", t.Width, t.Width), t.Heads))
		k := turn(b.split(dense(h, block+"self_attn.k_proj", t.Width, t.KVHeads*dim), t.KVHeads))
		v := b.split(dense(h, block+"self_attn.v_proj", t.Width, t.KVHeads*dim), t.KVHeads)
		c := b.attend(q, shared(k), shared(v), seen)
		x = b.bin("Add", x, dense(c, block+"self_attn.o_proj", t.Width, t.Width))
		h = norm(x, block+"post_attention_layernorm")
		g := dense(h, block+"mlp.gate_proj", t.Width, t.Hidden)
		g = b.bin("Mul", b.bin("Mul", g, b.Op("Sigmoid", []string{g})), dense(h, block+"mlp.up_proj", t.Width, t.Hidden))
		x = b.bin("Add", x, dense(g, block+"mlp.down_proj", t.Hidden, t.Width))
	}
	b.logits(dense(norm(x, "model.norm"), "lm_head", t.Width, t.Vocabulary))
}

// rotary are the cosines and sines of the angles of every place, [time, dim].
func (b *builder) rotary(steps string, dim int64) (cos, sin string) {
	v := make([]float32, dim/2)
	for i := range v {
		v[i] = float32(math.Pow(10000, -2*float64(i)/float64(dim)))
	}
	places := b.bin("Unsqueeze", b.Op("Cast", []string{steps}, onnxgraph.IntAttr("to", int64(onnxgraph.Float))), b.ints(1))
	angles := b.bin("MatMul", places, b.Init(onnxgraph.Floats("inv_freq", []int64{1, dim / 2}, v)))
	both := b.Op("Concat", []string{angles, angles}, onnxgraph.IntAttr("axis", 1))
	return b.Op("Cos", []string{both}), b.Op("Sin", []string{both})
}

func (b *builder) logits(y string) {
	b.Output(y, onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Sym("time"), onnxgraph.Known(b.t.Vocabulary)})
}
