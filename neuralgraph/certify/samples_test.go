package certify_test

import (
	"fmt"
	"math"
	"math/rand/v2"

	"ninox/onnxgraph"
)

// sample is a small model and what its neural graph must be.
type sample struct {
	name   string
	build  func(b *net)
	groups []string // "role size" of permutable groups, in order
	blocks []string // "parameter[slice]: source sizes > target sizes, taps type"
	nodes  int
	edges  map[int]int // by type, without self-loops
}

// net builds models with random weights.
type net struct {
	*onnxgraph.Builder
	rng *rand.Rand
}

func (n *net) weight(name string, dims ...int64) string {
	size := int64(1)
	for _, d := range dims {
		size *= d
	}
	v := make([]float32, size)
	for i := range v {
		v[i] = float32(n.rng.NormFloat64() / math.Sqrt(float64(max(size/dims[0], 1))))
	}
	return n.Init(onnxgraph.Floats(name, dims, v))
}

func (n *net) ints(v ...int64) string { return n.Const(onnxgraph.Vector("", v...)) }

func (n *net) input(name string, dims ...int64) string {
	s := append(onnxgraph.Shape{onnxgraph.Sym("batch")}, onnxgraph.StaticShape(dims...)...)
	return n.Input(name, onnxgraph.Float, s)
}

func (n *net) result(value string, rank int) {
	s := make(onnxgraph.Shape, rank)
	for i := range s {
		s[i] = onnxgraph.UnknownDim()
	}
	n.Output(value, onnxgraph.Float, s)
}

func (n *net) linear(x, name string, in, out int64) string {
	return n.Op("Add", []string{n.Op("MatMul", []string{x, n.weight(name+".weight", in, out)}), n.weight(name+".bias", out)})
}

func (n *net) conv(x, name string, out, in, k, group int64, bias bool) string {
	inputs := []string{x, n.weight(name+".weight", out, in/group, k, k)}
	if bias {
		inputs = append(inputs, n.weight(name+".bias", out))
	}
	p := k / 2
	return n.Op("Conv", inputs, onnxgraph.IntsAttr("kernel_shape", k, k), onnxgraph.IntsAttr("pads", p, p, p, p), onnxgraph.IntAttr("group", group))
}

func (n *net) transpose(x string, perm ...int64) string {
	return n.Op("Transpose", []string{x}, onnxgraph.IntsAttr("perm", perm...))
}

func (n *net) reshape(x string, shape ...int64) string {
	return n.Op("Reshape", []string{x, n.ints(shape...)})
}

// attention is softmax(q kᵀ) v on [batch, heads, time, dim].
func (n *net) attention(q, k, v string) string {
	s := n.Op("MatMul", []string{q, n.transpose(k, 0, 1, 3, 2)})
	return n.Op("MatMul", []string{n.Op("Softmax", []string{s}, onnxgraph.IntAttr("axis", -1)), v})
}

func (s *sample) model() (*onnxgraph.Model, error) {
	n := &net{onnxgraph.NewBuilder(s.name, 17), rand.New(rand.NewPCG(1, 2))}
	s.build(n)
	m, err := n.Model()
	if err != nil {
		return nil, fmt.Errorf("sample %s: %w", s.name, err)
	}
	return m, nil
}

var samples = []sample{
	{
		name: "mlp",
		build: func(n *net) {
			h := n.Op("Relu", []string{n.linear(n.input("x", 5), "a", 5, 7)})
			n.result(n.linear(h, "b", 7, 3), 2)
		},
		groups: []string{"hidden 7"},
		blocks: []string{"a.weight: 5 > 7, 1 linear", "a.bias: > 7, 1 bias", "b.weight: 7 > 3, 1 linear", "b.bias: > 3, 1 bias"},
		nodes:  5 + 7 + 3 + 2, edges: map[int]int{1: 35 + 21, 2: 10},
	},
	{
		// The flattened map's positions are taps of the edges from channels.
		name: "flatten",
		build: func(n *net) {
			h := n.Op("Relu", []string{n.conv(n.input("x", 2, 4, 3), "c", 6, 2, 3, 1, true)})
			n.result(n.linear(n.Op("Flatten", []string{h}, onnxgraph.IntAttr("axis", 1)), "d", 72, 5), 2)
		},
		groups: []string{"hidden 6"},
		blocks: []string{"c.weight: 2 > 6, 9 convolution", "c.bias: > 6, 1 bias", "d.weight: 6 > 5, 12 linear", "d.bias: > 5, 1 bias"},
		nodes:  2 + 6 + 5 + 2, edges: map[int]int{1: 30, 2: 11, 3: 12},
	},
	{
		// An image that goes into a linear layer is made of pixels, not channels.
		name: "pixels",
		build: func(n *net) {
			x := n.Op("Flatten", []string{n.input("x", 1, 3, 4)}, onnxgraph.IntAttr("axis", 1))
			n.result(n.linear(n.Op("Relu", []string{n.linear(x, "a", 12, 4)}), "b", 4, 2), 2)
		},
		groups: []string{"hidden 4"},
		blocks: []string{"a.weight: 3·4 > 4, 1 linear", "a.bias: > 4, 1 bias", "b.weight: 4 > 2, 1 linear", "b.bias: > 2, 1 bias"},
		nodes:  12 + 4 + 2 + 2, edges: map[int]int{1: 56, 2: 6},
	},
	{
		// Grouped, depthwise and pointwise convolutions.
		name: "grouped",
		build: func(n *net) {
			h := n.Op("Relu", []string{n.conv(n.input("x", 3, 5, 5), "a", 8, 3, 1, 1, false)})
			h = n.Op("Relu", []string{n.conv(h, "b", 12, 8, 3, 2, false)})
			h = n.Op("Relu", []string{n.conv(h, "c", 12, 12, 3, 12, true)})
			h = n.Op("GlobalAveragePool", []string{n.conv(h, "d", 4, 12, 1, 1, false)})
			n.result(h, 4)
		},
		groups: []string{"hidden 2", "hidden 4", "hidden 6"},
		blocks: []string{"a.weight: 3 > 2·4, 1 convolution", "b.weight: 2·4 > 2·6, 9 convolution", "c.weight: 2·6 > 2·6, 9 convolution",
			"c.bias: > 2·6, 1 bias", "d.weight: 2·6 > 4, 1 convolution"},
		nodes: 3 + 8 + 12 + 12 + 1 + 4, edges: map[int]int{2: 12, 3: 24 + 48 + 12 + 48},
	},
	{
		// Two residual blocks, the first with a projection: the sum of two fresh
		// layers is one layer, the other sum keeps the streams apart.
		name: "residual",
		build: func(n *net) {
			x := n.Op("Relu", []string{n.conv(n.input("x", 3, 5, 5), "stem", 4, 3, 3, 1, false)})
			f := n.conv(n.Op("Relu", []string{n.conv(x, "a1", 6, 4, 3, 1, false)}), "a2", 6, 6, 3, 1, false)
			x = n.Op("Relu", []string{n.Op("Add", []string{f, n.conv(x, "short", 6, 4, 1, 1, false)})})
			f = n.conv(n.Op("Relu", []string{n.conv(x, "b1", 5, 6, 3, 1, false)}), "b2", 6, 5, 3, 1, false)
			x = n.Op("Relu", []string{n.Op("Add", []string{f, x})})
			n.result(n.linear(n.Op("Flatten", []string{n.Op("GlobalAveragePool", []string{x})}, onnxgraph.IntAttr("axis", 1)), "fc", 6, 2), 2)
		},
		groups: []string{"hidden 4", "hidden 6", "hidden 6", "hidden 5"},
		nodes:  3 + 4 + 6 + 6 + 5 + 6 + 2 + 1,
		edges:  map[int]int{1: 12, 2: 2, 3: 12 + 24 + 36 + 24 + 30 + 30, 10: 6},
	},
	{
		// Squeeze and excitation: the gate is a layer of its own.
		name: "excitation",
		build: func(n *net) {
			x := n.conv(n.input("x", 3, 4, 4), "a", 6, 3, 3, 1, false)
			s := n.Op("Relu", []string{n.conv(n.Op("GlobalAveragePool", []string{x}), "s", 2, 6, 1, 1, false)})
			g := n.Op("Sigmoid", []string{n.conv(s, "e", 6, 2, 1, 1, false)})
			n.result(n.conv(n.Op("Mul", []string{x, g}), "b", 4, 6, 1, 1, false), 4)
		},
		groups: []string{"hidden 6", "hidden 2"},
		nodes:  3 + 6 + 2 + 6 + 4, edges: map[int]int{3: 18 + 12 + 12 + 24, 10: 6},
	},
	{
		// Queries, keys and values from one weight, taken apart behind a reshape
		// to [batch, time, 3, heads, dim].
		name: "packed",
		build: func(n *net) {
			x := n.input("x", 5, 8)
			p := n.linear(n.linear(x, "in", 8, 6), "qkv", 6, 36)
			p = n.transpose(n.reshape(p, 0, 0, 3, 3, 4), 2, 0, 3, 1, 4)
			part := func(i int64) string {
				return n.Op("Gather", []string{p, n.Const(onnxgraph.Int64s("", []int64{}, []int64{i}))}, onnxgraph.IntAttr("axis", 0))
			}
			c := n.reshape(n.transpose(n.attention(part(0), part(1), part(2)), 0, 2, 1, 3), 0, 0, 12)
			n.result(n.linear(c, "out", 12, 2), 3)
		},
		groups: []string{"hidden 6", "head 3", "head_dim 4", "head_dim 4"},
		blocks: []string{"in.weight: 8 > 6, 1 linear", "in.bias: > 6, 1 bias",
			"qkv.weight[:, 0:12]: 6 > 3·4, 1 query", "qkv.weight[:, 12:24]: 6 > 3·4, 1 key", "qkv.weight[:, 24:36]: 6 > 3·4, 1 value",
			"qkv.bias[0:12]: > 3·4, 1 bias", "qkv.bias[12:24]: > 3·4, 1 bias", "qkv.bias[24:36]: > 3·4, 1 bias",
			"out.weight: 3·4 > 2, 1 linear", "out.bias: > 2, 1 bias"},
		nodes: 8 + 6 + 12 + 12 + 2 + 3 + 1 + 3 + 1,
		edges: map[int]int{1: 48 + 24, 2: 6 + 36 + 2, 7: 72, 8: 72, 9: 72, 11: 24},
	},
	{
		// Two query heads read each key head.
		name: "grouped queries",
		build: func(n *net) {
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			q := n.transpose(n.reshape(n.Op("MatMul", []string{x, n.weight("q.weight", 6, 16)}), 0, 0, 4, 4), 0, 2, 1, 3)
			shared := func(name string) string {
				k := n.transpose(n.reshape(n.Op("MatMul", []string{x, n.weight(name, 6, 8)}), 0, 0, 2, 4), 0, 2, 1, 3)
				k = n.Op("Expand", []string{n.Op("Unsqueeze", []string{k, n.ints(2)}), n.ints(1, 1, 2, 1, 1)})
				return n.reshape(k, 0, 4, 5, 4)
			}
			c := n.reshape(n.transpose(n.attention(q, shared("k.weight"), shared("v.weight")), 0, 2, 1, 3), 0, 0, 16)
			n.result(n.Op("MatMul", []string{c, n.weight("o.weight", 16, 3)}), 3)
		},
		groups: []string{"hidden 6", "head 2", "head 2", "head_dim 4", "head_dim 4"},
		blocks: []string{"in.weight: 8 > 6, 1 linear", "in.bias: > 6, 1 bias", "q.weight: 6 > 2·2·4, 1 query", "k.weight: 6 > 2·4, 1 key",
			"v.weight: 6 > 2·4, 1 value", "o.weight: 2·2·4 > 3, 1 linear"},
		// queries 16, keys 8, values 8, context 16, heads 4
		nodes: 8 + 6 + 1 + 16 + 8 + 8 + 16 + 3 + 4,
		edges: map[int]int{1: 48 + 48, 2: 6, 7: 96, 8: 48, 9: 48, 10: 16 + 16, 11: 16 + 16},
	},
	{
		// Rotary embeddings: the halves of a head move together, and with the
		// tables of cosines and sines.
		name: "rotary",
		build: func(n *net) {
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			cos, sin := n.weight("cos", 5, 4), n.weight("sin", 5, 4)
			heads := func(name string) string {
				return n.transpose(n.reshape(n.Op("MatMul", []string{x, n.weight(name, 6, 8)}), 0, 0, 2, 4), 0, 2, 1, 3)
			}
			rotate := func(x string) string {
				lo := n.Op("Slice", []string{x, n.ints(0), n.ints(2), n.ints(3)})
				hi := n.Op("Slice", []string{x, n.ints(2), n.ints(4), n.ints(3)})
				r := n.Op("Concat", []string{n.Op("Neg", []string{hi}), lo}, onnxgraph.IntAttr("axis", 3))
				return n.Op("Add", []string{n.Op("Mul", []string{x, cos}), n.Op("Mul", []string{r, sin})})
			}
			c := n.reshape(n.transpose(n.attention(rotate(heads("q")), rotate(heads("k")), heads("v")), 0, 2, 1, 3), 0, 0, 8)
			n.result(n.Op("MatMul", []string{c, n.weight("o", 8, 3)}), 3)
		},
		groups: []string{"hidden 6", "head_dim 2", "head 2", "head_dim 4"},
		// in 8 and 6, queries that are also keys 8, values 8, output 3, heads 2, a bias; the tables' 5 times, 4 cosines, 4 sines
		nodes: 8 + 6 + 1 + 8 + 8 + 3 + 2 + 5 + 4 + 4,
		edges: map[int]int{1: 48 + 24, 2: 6, 6: 40, 7: 48, 8: 48, 9: 48, 11: 16},
	},
	{
		// A vision transformer: patches, a class token, positions that are added,
		// and a packed projection that is taken apart without heads first.
		name: "vision",
		build: func(n *net) {
			p := n.Op("Conv", []string{n.input("x", 3, 4, 4), n.weight("patch.weight", 6, 3, 2, 2), n.weight("patch.bias", 6)},
				onnxgraph.IntsAttr("kernel_shape", 2, 2), onnxgraph.IntsAttr("strides", 2, 2))
			p = n.transpose(n.reshape(p, 0, 6, 4), 0, 2, 1)
			batch := n.Op("Slice", []string{n.Op("Shape", []string{p}), n.ints(0), n.ints(1)})
			token := n.Op("Expand", []string{n.weight("token", 1, 1, 6), n.Op("Concat", []string{batch, n.ints(1, 6)}, onnxgraph.IntAttr("axis", 0))})
			x := n.Op("Add", []string{n.Op("Concat", []string{token, p}, onnxgraph.IntAttr("axis", 1)), n.weight("positions", 1, 5, 6)})
			h := n.Op("LayerNormalization", []string{x, n.weight("norm.weight", 6), n.weight("norm.bias", 6)})
			qkv := n.reshape(n.linear(n.transpose(h, 1, 0, 2), "qkv", 6, 18), 5, -1, 3, 6)
			qkv = n.Op("Squeeze", []string{n.transpose(n.Op("Unsqueeze", []string{qkv, n.ints(0)}), 3, 1, 2, 0, 4), n.ints(3)})
			part := func(i int64) string {
				v := n.Op("Gather", []string{qkv, n.Const(onnxgraph.Int64s("", []int64{}, []int64{i}))}, onnxgraph.IntAttr("axis", 0))
				return n.transpose(n.reshape(v, 5, -1, 2, 3), 1, 2, 0, 3)
			}
			c := n.reshape(n.transpose(n.attention(part(0), part(1), part(2)), 2, 0, 1, 3), 5, -1, 6)
			x = n.Op("Add", []string{x, n.transpose(n.linear(c, "proj", 6, 6), 1, 0, 2)})
			first := n.Op("Gather", []string{x, n.Const(onnxgraph.Int64s("", []int64{}, []int64{0}))}, onnxgraph.IntAttr("axis", 1))
			n.result(n.linear(first, "head", 6, 2), 2)
		},
		groups: []string{"hidden 6", "head 2", "head_dim 3", "head_dim 3"},
		// channels 3, stream 6 twice, positions 5, queries 6, values 6, output 2, heads 2; extra: patch, token, norm 2, qkv 3, proj, head
		nodes: 3 + 6 + 6 + 5 + 6 + 6 + 2 + 2 + 1 + 1 + 2 + 3 + 1 + 1,
		edges: map[int]int{1: 36 + 12, 2: 6 + 6 + 18 + 6 + 2, 3: 18, 4: 6, 5: 6, 6: 30, 7: 36, 8: 36, 9: 36, 10: 6, 11: 12},
	},
	{
		// BERT's embeddings: three tables added up are one layer; norms after sums.
		name: "bert",
		build: func(n *net) {
			shape := onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(5)}
			ids, kinds := n.Input("input_ids", onnxgraph.Int64, shape), n.Input("token_type_ids", onnxgraph.Int64, shape)
			mask := n.Input("attention_mask", onnxgraph.Float, shape)
			x := n.Op("Add", []string{n.Op("Gather", []string{n.weight("words", 9, 6), ids}), n.Op("Gather", []string{n.weight("kinds", 9, 6), kinds})})
			place := n.Op("Slice", []string{n.Const(onnxgraph.Int64s("", []int64{1, 8}, []int64{0, 1, 2, 3, 4, 5, 6, 7})), n.ints(0), n.ints(5), n.ints(1)})
			x = n.Op("Add", []string{x, n.Op("Gather", []string{n.weight("places", 8, 6), place})})
			norm := func(x, name string) string {
				return n.Op("LayerNormalization", []string{x, n.weight(name+".weight", 6), n.weight(name+".bias", 6)})
			}
			x = norm(x, "n0")
			heads := func(name string) string {
				return n.transpose(n.reshape(n.linear(x, name, 6, 8), 0, 0, 2, 4), 0, 2, 1, 3)
			}
			s := n.Op("MatMul", []string{heads("q"), n.transpose(heads("k"), 0, 1, 3, 2)})
			s = n.Op("Add", []string{n.Op("Div", []string{s, n.Const(onnxgraph.Scalar("", 2))}), n.Op("Unsqueeze", []string{mask, n.ints(1, 2)})})
			c := n.Op("MatMul", []string{n.Op("Softmax", []string{s}, onnxgraph.IntAttr("axis", -1)), heads("v")})
			o := n.linear(n.reshape(n.transpose(c, 0, 2, 1, 3), 0, 0, 8), "o", 8, 6)
			x = norm(n.Op("Add", []string{o, x}), "n1")
			f := n.linear(n.Op("Tanh", []string{n.linear(x, "up", 6, 10)}), "down", 10, 6)
			n.result(n.linear(norm(n.Op("Add", []string{f, x}), "n2"), "out", 6, 3), 3)
		},
		groups: []string{"hidden 6", "head 2", "head_dim 4", "head_dim 4", "hidden 10"},
		nodes:  9 + 9 + 8 + 3*6 + 8 + 8 + 10 + 3 + 2 + 6 + 7,
		edges: map[int]int{1: 48 + 60 + 60 + 18, 2: 18 + 24 + 6 + 10 + 6 + 3, 4: 18, 5: 54 + 54, 6: 48,
			7: 48, 8: 48, 9: 48, 10: 12, 11: 16},
	},
	{
		// Layers inside the branches of a condition.
		name: "branches",
		build: func(n *net) {
			x := n.linear(n.input("x", 5), "in", 5, 6)
			branch := func(name string) *onnxgraph.Attribute {
				w := n.weight(name, 6, 4)
				return &onnxgraph.Attribute{Name: name, Type: onnxgraph.AttrGraph, G: &onnxgraph.Graph{
					Name:    name,
					Nodes:   []*onnxgraph.Node{{Name: name, OpType: "MatMul", Inputs: []string{x, w}, Outputs: []string{name + "_out"}}},
					Outputs: []*onnxgraph.Value{{Name: name + "_out", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(4)})}},
				}}
			}
			sum := n.Op("ReduceSum", []string{x}, onnxgraph.IntAttr("keepdims", 0))
			cond := n.Op("Greater", []string{sum, n.Const(onnxgraph.Scalar("", 0))})
			h := n.Op("If", []string{cond}, branch("then_branch"), branch("else_branch"))
			n.result(n.linear(n.Op("Relu", []string{h}), "out", 4, 2), 2)
		},
		groups: []string{"hidden 6", "hidden 4"},
		blocks: []string{"in.weight: 5 > 6, 1 linear", "in.bias: > 6, 1 bias", "then_branch: 6 > 4, 1 linear", "else_branch: 6 > 4, 1 linear",
			"out.weight: 4 > 2, 1 linear", "out.bias: > 2, 1 bias"},
		nodes: 5 + 6 + 4 + 2 + 2, edges: map[int]int{1: 30 + 48 + 8, 2: 8},
	},
	{
		// A generator: a linear layer makes maps, whose positions are taps, then
		// normalization in groups, PRelu, a transposed convolution and batch
		// normalization.
		name: "generator",
		build: func(n *net) {
			h := n.reshape(n.linear(n.input("z", 5), "fc", 5, 24), 0, 6, 2, 2)
			g := n.reshape(h, 0, 3, -1)
			table := func(v float32) string {
				return n.Op("ConstantOfShape", []string{n.ints(3)}, onnxgraph.TensorAttr("value", onnxgraph.Floats("", []int64{1}, []float32{v})))
			}
			g = n.Op("InstanceNormalization", []string{g, table(1), table(0)})
			h = n.Op("Mul", []string{n.reshape(g, 0, 6, 2, 2), n.weight("scale", 6, 1, 1)})
			h = n.Op("PRelu", []string{h, n.weight("slope", 6, 1, 1)})
			h = n.Op("ConvTranspose", []string{h, n.weight("up.weight", 6, 4, 2, 2)}, onnxgraph.IntsAttr("kernel_shape", 2, 2), onnxgraph.IntsAttr("strides", 2, 2))
			one := onnxgraph.Floats("variance", []int64{4}, []float32{1, 2, 3, 4})
			h = n.Op("BatchNormalization", []string{h, n.weight("bn.weight", 4), n.weight("bn.bias", 4), n.weight("mean", 4), n.Init(one)})
			n.result(n.conv(n.Op("Relu", []string{h}), "out", 2, 4, 3, 1, true), 4)
		},
		groups: []string{"hidden 3", "hidden 2", "hidden 4"},
		blocks: []string{"fc.weight: 5 > 3·2, 4 linear", "fc.bias: > 3·2, 4 bias", "scale: > 3·2, 1 norm", "slope: > 3·2, 1 norm",
			"up.weight: 3·2 > 4, 4 convolution", "bn.weight: > 4, 1 norm", "bn.bias: > 4, 1 bias", "mean: > 4, 1 bias", "variance: > 4, 1 bias",
			"out.weight: 4 > 2, 9 convolution", "out.bias: > 2, 1 bias"},
		nodes: 5 + 6 + 4 + 2 + 8, edges: map[int]int{1: 30, 2: 6 + 12 + 2, 3: 24 + 8, 4: 12 + 4},
	},
	{
		// Attention as one operator.
		name: "fused",
		build: func(n *net) {
			n.Import("com.microsoft", 1)
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			q, k, v := n.linear(x, "q", 6, 8), n.linear(x, "k", 6, 8), n.linear(x, "v", 6, 8)
			c := n.Node("com.microsoft", "MultiHeadAttention", []string{q, k, v}, []string{n.Fresh("c")}, onnxgraph.IntAttr("num_heads", 2))[0]
			n.result(n.linear(n.Op("Add", []string{x, n.linear(c, "o", 8, 6)}), "out", 6, 3), 3)
		},
		groups: []string{"hidden 6", "head 2", "head_dim 4", "head_dim 4"},
		nodes:  8 + 6 + 8 + 8 + 6 + 3 + 2 + 6, edges: map[int]int{1: 48 + 48 + 18, 2: 6 + 24 + 6 + 3, 7: 48, 8: 48, 9: 48, 10: 6, 11: 16},
	},
	{
		// A gate and its neurons are one layer; the norm's weight leads to it.
		name: "gated",
		build: func(n *net) {
			x := n.linear(n.input("x", 5), "in", 5, 6)
			x = n.Op("LayerNormalization", []string{x, n.weight("norm.weight", 6), n.weight("norm.bias", 6)})
			g := n.Op("MatMul", []string{x, n.weight("gate", 6, 9)})
			g = n.Op("Mul", []string{g, n.Op("Sigmoid", []string{g})})
			h := n.Op("Mul", []string{g, n.Op("MatMul", []string{x, n.weight("up", 6, 9)})})
			n.result(n.Op("MatMul", []string{h, n.weight("down", 9, 2)}), 2)
		},
		groups: []string{"hidden 6", "hidden 9"},
		nodes:  5 + 6 + 1 + 2 + 9 + 2, edges: map[int]int{1: 30 + 54 + 54 + 18, 2: 6 + 6, 4: 6},
	},
	{
		// A tied embedding: its second use adds nothing.
		name: "tied",
		build: func(n *net) {
			ids := n.Input("ids", onnxgraph.Int64, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(5)})
			w := n.weight("embed", 11, 6)
			pos := n.weight("positions", 5, 6)
			x := n.Op("Add", []string{n.Op("Gather", []string{w, ids}), pos})
			x = n.Op("Add", []string{x, n.Op("Tanh", []string{n.linear(x, "a", 6, 6)})})
			n.result(n.Op("MatMul", []string{x, n.transpose(w, 1, 0)}), 3)
		},
		groups: []string{"hidden 6"},
		blocks: []string{"embed: 11 > 6, 1 embedding", "positions: 5 > 6, 1 position", "a.weight: 6 > 6, 1 linear", "a.bias: > 6, 1 bias"},
		nodes:  11 + 5 + 6 + 6 + 1, edges: map[int]int{1: 36, 2: 6, 5: 66, 6: 30, 10: 6},
	},
	{
		// A bidirectional LSTM: gates are parallel edges, directions side by side.
		name: "lstm",
		build: func(n *net) {
			x := n.input("x", 4, 5)
			x = n.transpose(x, 1, 0, 2)
			y := n.OpN("LSTM", []string{x, n.weight("W", 2, 12, 5), n.weight("R", 2, 12, 3), n.weight("B", 2, 24)}, 1,
				onnxgraph.IntAttr("hidden_size", 3), onnxgraph.StringAttr("direction", "bidirectional"))[0]
			y = n.reshape(n.transpose(y, 0, 2, 1, 3), 0, 0, 6)
			n.result(n.linear(y, "out", 6, 2), 3)
		},
		groups: []string{"hidden 3"},
		nodes:  5 + 6 + 1 + 2 + 1, edges: map[int]int{1: 5*6*4 + 2*9*4 + 12, 2: 48 + 2},
	},
	{
		// Two layers concatenated, as in a dense net, and shuffled in groups.
		name: "concatenated",
		build: func(n *net) {
			x := n.input("x", 3, 4, 4)
			c := n.Op("Concat", []string{n.Op("Relu", []string{n.conv(x, "a", 4, 3, 3, 1, false)}), n.conv(x, "b", 2, 3, 1, 1, false)}, onnxgraph.IntAttr("axis", 1))
			h := n.conv(c, "c", 8, 6, 1, 1, false)
			h = n.reshape(n.Op("Transpose", []string{n.reshape(h, 0, 2, 4, 4, 4)}, onnxgraph.IntsAttr("perm", 0, 2, 1, 3, 4)), 0, 8, 4, 4)
			n.result(n.conv(h, "d", 2, 8, 1, 1, false), 4)
		},
		groups: []string{"hidden 4", "hidden 2", "hidden 2", "hidden 4"},
		nodes:  3 + 4 + 2 + 8 + 2, edges: map[int]int{3: 12 + 6 + 48 + 16},
	},
	{
		// A low-rank update beside a layer: the rank is a layer of its own.
		name: "low rank",
		build: func(n *net) {
			h := n.Op("Relu", []string{n.linear(n.input("x", 5), "a", 5, 7)})
			low := n.Op("MatMul", []string{n.Op("MatMul", []string{h, n.weight("down", 7, 3)}), n.weight("up", 3, 6)})
			h = n.Op("Relu", []string{n.Op("Add", []string{n.linear(h, "b", 7, 6), low})})
			n.result(n.linear(h, "c", 6, 2), 2)
		},
		groups: []string{"hidden 7", "hidden 3", "hidden 6"},
		nodes:  5 + 7 + 6 + 3 + 2 + 3, edges: map[int]int{1: 35 + 42 + 21 + 18 + 12, 2: 7 + 6 + 2},
	},
	{
		// The same, added to the weight before it is used.
		name: "low rank, merged",
		build: func(n *net) {
			h := n.Op("Relu", []string{n.linear(n.input("x", 5), "a", 5, 7)})
			low := n.Op("MatMul", []string{n.weight("down", 7, 3), n.weight("up", 3, 6)})
			h = n.Op("Relu", []string{n.Op("MatMul", []string{h, n.Op("Add", []string{n.weight("b", 7, 6), low})})})
			n.result(n.linear(h, "c", 6, 2), 2)
		},
		groups: []string{"hidden 7", "hidden 3", "hidden 6"},
		nodes:  5 + 7 + 6 + 3 + 2 + 2, edges: map[int]int{1: 35 + 42 + 21 + 18 + 12, 2: 7 + 2},
	},
	{
		// A recurrent cell unrolled over three steps: its weights are used thrice.
		name: "unrolled",
		build: func(n *net) {
			x := n.input("x", 3, 4)
			w, r, b := n.weight("w", 4, 6), n.weight("r", 6, 6), n.weight("b", 6)
			state := ""
			for i := range int64(3) {
				in := n.Op("Gather", []string{x, n.Const(onnxgraph.Int64s("", []int64{}, []int64{i}))}, onnxgraph.IntAttr("axis", 1))
				next := n.Op("Add", []string{n.Op("MatMul", []string{in, w}), b})
				if state != "" {
					next = n.Op("Add", []string{next, n.Op("MatMul", []string{state, r})})
				}
				state = n.Op("Tanh", []string{next})
			}
			n.result(n.linear(state, "out", 6, 2), 2)
		},
		groups: []string{"hidden 6"},
		nodes:  4 + 6 + 2 + 2, edges: map[int]int{1: 24 + 36 + 12, 2: 6 + 2},
	},
}
