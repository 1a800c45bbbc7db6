package models

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"ninox/onnxgraph"
)

// Families of language models.
const (
	GPT2  = "gpt2"  // LayerNorm, learned positions, packed query-key-value, GELU, biases
	Llama = "llama" // RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases
)

// Transformer describes a causal language model. Parameters have the names and
// layouts that Hugging Face's transformers gives them, so that weights go from
// one to the other.
type Transformer struct {
	Name      string
	Family    string // GPT2 or Llama
	Vocab     int
	Positions int // longest sequence
	Width     int
	Layers    int
	Heads     int
	KVHeads   int  // of keys and values; 0: Heads. Llama only
	Hidden    int  // of the feed-forward layers; 0: 4·Width (GPT2), 8/3·Width rounded up to a multiple of 8 (Llama)
	Untied    bool // the output has a matrix of its own, instead of the embedding
}

// Names of the input and the output of the language models.
const (
	TokensName = "input_ids"
	LogitsName = "logits"
)

const (
	layerNormEpsilon = 1e-5
	rmsNormEpsilon   = 1e-6
	ropeBase         = 10000
	initialDeviation = 0.02 // of weights, as GPT-2 and Llama start
)

func (t Transformer) fill() (Transformer, error) {
	if t.KVHeads == 0 {
		t.KVHeads = t.Heads
	}
	if t.Hidden == 0 {
		t.Hidden = 4 * t.Width
		if t.Family == Llama {
			t.Hidden = (8*t.Width/3 + 7) / 8 * 8
		}
	}
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(t.Family != GPT2 && t.Family != Llama, "family %q, expected %q or %q", t.Family, GPT2, Llama)
	fault(min(t.Vocab, t.Positions, t.Width, t.Layers, t.Heads, t.KVHeads, t.Hidden) < 1, "vocabulary %d, %d positions, width %d, %d layers, %d heads, %d for keys, hidden %d: all must be positive",
		t.Vocab, t.Positions, t.Width, t.Layers, t.Heads, t.KVHeads, t.Hidden)
	if len(errs) == 0 {
		fault(t.Width%t.Heads != 0, "width %d is no multiple of %d heads", t.Width, t.Heads)
		fault(t.Heads%t.KVHeads != 0, "%d heads are no multiple of %d heads for keys", t.Heads, t.KVHeads)
		fault(t.Family == GPT2 && t.KVHeads != t.Heads, "GPT-2 has as many heads for keys as for queries")
		fault(t.Family == Llama && t.Width/t.Heads%2 != 0, "rotary positions need an even head size, it is %d", t.Width/t.Heads)
	}
	if err := errors.Join(errs...); err != nil {
		return t, fmt.Errorf("model %s: %w", t.Name, err)
	}
	return t, nil
}

// Model builds the network for batches and sequences of any size up to
// Positions: input_ids int64 [batch, sequence], logits float [batch, sequence,
// Vocab], where position i has seen tokens 0 to i. Weights are normal with
// deviation 0.02, those that lead back into the residual stream smaller by
// 1/sqrt(2·Layers) (GPT-2). Equal seeds give equal weights.
func (t Transformer) Model(seed uint64) (*onnxgraph.Model, error) {
	t, err := t.fill()
	if err != nil {
		return nil, err
	}
	n := &transformerNet{Transformer: t, b: onnxgraph.NewBuilder(t.Name, opset), rng: rand.New(rand.NewPCG(seed, 0))}
	batch, sequence := onnxgraph.Sym("batch"), onnxgraph.Sym("sequence")
	tokens := n.b.Input(TokensName, onnxgraph.Int64, onnxgraph.Shape{batch, sequence})
	n.measure(tokens)
	var embedding, x string
	if t.Family == GPT2 {
		embedding, x = n.gpt2(tokens)
	} else {
		embedding, x = n.llama(tokens)
	}
	head := embedding
	if t.Untied {
		head = n.normal("lm_head.weight", initialDeviation, t.Vocab, t.Width)
	}
	n.b.Named(LogitsName, "MatMul", []string{x, n.transposed(head)})
	n.b.Output(LogitsName, onnxgraph.Float, onnxgraph.Shape{batch, sequence, onnxgraph.Known(int64(t.Vocab))})
	return n.b.Model()
}

// transformerNet is a language model being built.
type transformerNet struct {
	Transformer
	b   *onnxgraph.Builder
	rng *rand.Rand

	length    string // of the sequence, int64 []
	positions string // 0 … length-1
	mask      string // bool [length, length], true where a key is in the future
}

// measure computes what depends on the length of the sequence alone.
func (n *transformerNet) measure(tokens string) {
	n.length = n.op("Gather", n.op("Shape", tokens), n.index(1))
	n.positions = n.op("Range", n.index(0), n.length, n.index(1))
	keys, queries := n.op("Unsqueeze", n.positions, n.vector(0)), n.op("Unsqueeze", n.positions, n.vector(1))
	n.mask = n.op("Greater", keys, queries)
}

func (n *transformerNet) op(name string, inputs ...string) string { return n.b.Op(name, inputs) }

func (n *transformerNet) vector(v ...int64) string { return constant(n.b, onnxgraph.Vector("", v...)) }

func (n *transformerNet) index(v int64) string {
	return constant(n.b, onnxgraph.Int64s("", []int64{}, []int64{v}))
}

func (n *transformerNet) number(v float64) string {
	return constant(n.b, onnxgraph.Floats("", []int64{}, []float32{float32(v)}))
}

// constant adds a Constant node: an initializer would count as a parameter.
func constant(b *onnxgraph.Builder, t *onnxgraph.Tensor) string {
	return b.Op("Constant", nil, onnxgraph.TensorAttr("value", t))
}

// normal adds a parameter.
func (n *transformerNet) normal(name string, deviation float64, dims ...int) string {
	return n.parameter(name, func() float32 { return float32(deviation * n.rng.NormFloat64()) }, dims...)
}

// filled adds a parameter whose elements are all v.
func (n *transformerNet) filled(name string, v float32, dims ...int) string {
	return n.parameter(name, func() float32 { return v }, dims...)
}

func (n *transformerNet) parameter(name string, value func() float32, dims ...int) string {
	size, shape := 1, make([]int64, len(dims))
	for i, d := range dims {
		size, shape[i] = size*d, int64(d)
	}
	v := make([]float32, size)
	for i := range v {
		v[i] = value()
	}
	return n.b.Init(onnxgraph.Floats(name, shape, v))
}

func (n *transformerNet) transposed(matrix string) string {
	return n.b.Op("Transpose", []string{matrix}, onnxgraph.IntsAttr("perm", 1, 0))
}

// residual is the deviation of weights that lead back into the residual stream.
func (n *transformerNet) residual() float64 {
	return initialDeviation / math.Sqrt(2*float64(n.Layers))
}

// split makes heads [batch, heads, sequence, size] of x [batch, sequence,
// heads·size].
func (n *transformerNet) split(x string, heads int) string {
	x = n.op("Reshape", x, n.vector(0, 0, int64(heads), int64(n.Width/n.Heads)))
	return n.b.Op("Transpose", []string{x}, onnxgraph.IntsAttr("perm", 0, 2, 1, 3))
}

// attend is causal attention over heads; the result is [batch, sequence, Width].
func (n *transformerNet) attend(q, k, v string) string {
	keys := n.b.Op("Transpose", []string{k}, onnxgraph.IntsAttr("perm", 0, 1, 3, 2))
	scores := n.op("Mul", n.op("MatMul", q, keys), n.number(1/math.Sqrt(float64(n.Width/n.Heads))))
	scores = n.op("Where", n.mask, n.number(-math.MaxFloat32), scores)
	weights := n.b.Op("Softmax", []string{scores}, onnxgraph.IntAttr("axis", -1))
	x := n.b.Op("Transpose", []string{n.op("MatMul", weights, v)}, onnxgraph.IntsAttr("perm", 0, 2, 1, 3))
	return n.op("Reshape", x, n.vector(0, 0, int64(n.Width)))
}

// gpt2 writes GPT-2 up to its last norm, and names the embedding.
func (n *transformerNet) gpt2(tokens string) (embedding, x string) {
	embedding = n.normal("transformer.wte.weight", initialDeviation, n.Vocab, n.Width)
	positions := n.normal("transformer.wpe.weight", initialDeviation, n.Positions, n.Width)
	x = n.op("Add", n.op("Gather", embedding, tokens), n.op("Gather", positions, n.positions))
	for i := range n.Layers {
		at := fmt.Sprintf("transformer.h.%d.", i)
		y := n.affine(n.layerNorm(x, at+"ln_1"), at+"attn.c_attn", initialDeviation, n.Width, 3*n.Width)
		qkv := n.b.OpN("Split", []string{y}, 3, onnxgraph.IntAttr("axis", -1), onnxgraph.IntAttr("num_outputs", 3))
		y = n.attend(n.split(qkv[0], n.Heads), n.split(qkv[1], n.Heads), n.split(qkv[2], n.Heads))
		x = n.op("Add", x, n.affine(y, at+"attn.c_proj", n.residual(), n.Width, n.Width))
		y = n.gelu(n.affine(n.layerNorm(x, at+"ln_2"), at+"mlp.c_fc", initialDeviation, n.Width, n.Hidden))
		x = n.op("Add", x, n.affine(y, at+"mlp.c_proj", n.residual(), n.Hidden, n.Width))
	}
	return embedding, n.layerNorm(x, "transformer.ln_f")
}

// affine is x·W + b with W [in, out], GPT-2's layout.
func (n *transformerNet) affine(x, name string, deviation float64, in, out int) string {
	w := n.normal(name+".weight", deviation, in, out)
	return n.op("Add", n.op("MatMul", x, w), n.filled(name+".bias", 0, out))
}

func (n *transformerNet) layerNorm(x, name string) string {
	w, b := n.filled(name+".weight", 1, n.Width), n.filled(name+".bias", 0, n.Width)
	return n.b.Op("LayerNormalization", []string{x, w, b}, onnxgraph.FloatAttr("epsilon", layerNormEpsilon))
}

// gelu is GPT-2's approximation: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
func (n *transformerNet) gelu(x string) string {
	cube := n.op("Mul", n.op("Mul", x, x), x)
	inner := n.op("Mul", n.op("Add", x, n.op("Mul", cube, n.number(0.044715))), n.number(math.Sqrt(2/math.Pi)))
	return n.op("Mul", n.op("Mul", x, n.number(0.5)), n.op("Add", n.op("Tanh", inner), n.number(1)))
}

// llama writes Llama up to its last norm, and names the embedding.
func (n *transformerNet) llama(tokens string) (embedding, x string) {
	embedding = n.normal("model.embed_tokens.weight", initialDeviation, n.Vocab, n.Width)
	x = n.op("Gather", embedding, tokens)
	rotation := n.rotation()
	size := n.Width / n.Heads
	for i := range n.Layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		y := n.rmsNorm(x, at+"input_layernorm")
		q := rotation.turn(n.split(n.linear(y, at+"self_attn.q_proj", initialDeviation, n.Width, n.Width), n.Heads))
		k := rotation.turn(n.split(n.linear(y, at+"self_attn.k_proj", initialDeviation, n.Width, n.KVHeads*size), n.KVHeads))
		v := n.split(n.linear(y, at+"self_attn.v_proj", initialDeviation, n.Width, n.KVHeads*size), n.KVHeads)
		y = n.attend(q, n.shared(k), n.shared(v))
		x = n.op("Add", x, n.linear(y, at+"self_attn.o_proj", n.residual(), n.Width, n.Width))
		y = n.rmsNorm(x, at+"post_attention_layernorm")
		gate := n.linear(y, at+"mlp.gate_proj", initialDeviation, n.Width, n.Hidden)
		up := n.linear(y, at+"mlp.up_proj", initialDeviation, n.Width, n.Hidden)
		y = n.op("Mul", n.op("Mul", gate, n.op("Sigmoid", gate)), up)
		x = n.op("Add", x, n.linear(y, at+"mlp.down_proj", n.residual(), n.Hidden, n.Width))
	}
	return embedding, n.rmsNorm(x, "model.norm")
}

// linear is x·Wᵀ with W [out, in], PyTorch's layout.
func (n *transformerNet) linear(x, name string, deviation float64, in, out int) string {
	return n.op("MatMul", x, n.transposed(n.normal(name+".weight", deviation, out, in)))
}

func (n *transformerNet) rmsNorm(x, name string) string {
	square := n.b.Op("ReduceMean", []string{n.op("Mul", x, x), n.vector(-1)}, onnxgraph.IntAttr("keepdims", 1))
	root := n.op("Sqrt", n.op("Add", square, n.number(rmsNormEpsilon)))
	return n.op("Mul", n.filled(name+".weight", 1, n.Width), n.op("Div", x, root))
}

// shared repeats each head of keys or values for the queries that share it.
func (n *transformerNet) shared(x string) string {
	times := n.Heads / n.KVHeads
	if times == 1 {
		return x
	}
	x = n.op("Unsqueeze", x, n.vector(2))
	x = n.op("Expand", x, n.vector(1, 1, int64(times), 1, 1))
	return n.op("Reshape", x, n.vector(0, int64(n.Heads), -1, int64(n.Width/n.Heads)))
}

// rotation is the rotary position embedding: element i of a head and element
// i + size/2 turn together by position·base^(−2i/size).
type rotation struct {
	n        *transformerNet
	cos, sin string // [sequence, size]
}

func (n *transformerNet) rotation() rotation {
	size := n.Width / n.Heads
	cos, sin := make([]float32, n.Positions*size), make([]float32, n.Positions*size)
	for p := range n.Positions {
		for i := range size {
			angle := float64(p) * math.Pow(ropeBase, -2*float64(i%(size/2))/float64(size))
			cos[p*size+i], sin[p*size+i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	dims := []int64{int64(n.Positions), int64(size)}
	return rotation{n,
		n.op("Gather", constant(n.b, onnxgraph.Floats("", dims, cos)), n.positions),
		n.op("Gather", constant(n.b, onnxgraph.Floats("", dims, sin)), n.positions),
	}
}

func (r rotation) turn(x string) string {
	n := r.n
	halves := n.b.OpN("Split", []string{x}, 2, onnxgraph.IntAttr("axis", -1), onnxgraph.IntAttr("num_outputs", 2))
	turned := n.b.Op("Concat", []string{n.op("Neg", halves[1]), halves[0]}, onnxgraph.IntAttr("axis", -1))
	return n.op("Add", n.op("Mul", x, r.cos), n.op("Mul", turned, r.sin))
}

// Parameters is the number of trainable values.
func (t Transformer) Parameters() int {
	t, err := t.fill()
	if err != nil {
		return 0
	}
	d, h, kv := t.Width, t.Hidden, t.Width/t.Heads*t.KVHeads
	n := t.Vocab * d
	if t.Untied {
		n *= 2
	}
	if t.Family == GPT2 {
		return n + t.Positions*d + 2*d + t.Layers*(4*d+d*3*d+3*d+d*d+d+2*d*h+h+d)
	}
	return n + d + t.Layers*(2*d+2*d*d+2*d*kv+3*d*h)
}
