package certify_test

import (
	"fmt"
	"slices"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// spelling is attention as some exporter writes it, and the layers that must be
// found in it.
type spelling struct {
	name  string
	build func(n *net)
	want  []string
}

func spelled(a neuralgraph.Attention) string {
	return fmt.Sprintf("%d/%d heads of %d, rope %v, packed %v", a.Heads, a.KVHeads, a.HeadDim, a.Rope, a.Packed)
}

func (n *net) scalar(v float32) string { return n.Const(onnxgraph.Scalar("", v)) }

// cut takes the indices lo … hi-1 of an axis.
func (n *net) cut(x string, axis, lo, hi int64) string {
	return n.Op("Slice", []string{x, n.ints(lo), n.ints(hi), n.ints(axis)})
}

func (n *net) concat(axis int64, x ...string) string {
	return n.Op("Concat", x, onnxgraph.IntAttr("axis", axis))
}

// heads projects x [batch, 5, 6] to [batch, heads, 5, size].
func (n *net) heads(x, name string, heads, size int64) string {
	return n.transpose(n.reshape(n.Op("MatMul", []string{x, n.weight(name, 6, heads*size)}), 0, 0, heads, size), 0, 2, 1, 3)
}

// shared repeats each of two heads of size 4 for two query heads.
func (n *net) shared(x string) string {
	x = n.Op("Expand", []string{n.Op("Unsqueeze", []string{x, n.ints(2)}), n.ints(1, 1, 2, 1, 1)})
	return n.reshape(x, 0, 4, 5, 4)
}

// merged puts [batch, heads, 5, size] through an output layer, and adds x.
func (n *net) merged(x, context, name string, width int64) string {
	c := n.reshape(n.transpose(context, 0, 2, 1, 3), 0, 0, width)
	return n.Op("Add", []string{x, n.Op("MatMul", []string{c, n.weight(name, width, 6)})})
}

var spellings = []spelling{
	{
		// Angles are computed from positions, once for both layers.
		name: "angles from positions",
		build: func(n *net) {
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			time := n.Op("Squeeze", []string{n.cut(n.Op("Shape", []string{x}), 0, 1, 2), n.ints(0)})
			one := func(v int64) string { return n.Const(onnxgraph.Int64s("", []int64{}, []int64{v})) }
			at := n.Op("Cast", []string{n.Op("Unsqueeze", []string{n.Op("Range", []string{one(0), time, one(1)}), n.ints(1)})}, onnxgraph.IntAttr("to", 1))
			angles := n.Op("Mul", []string{at, n.weight("frequencies", 2)})
			angles = n.concat(1, angles, angles)
			cos, sin := n.Op("Cos", []string{angles}), n.Op("Sin", []string{angles})
			rotate := func(x string) string {
				r := n.concat(3, n.Op("Neg", []string{n.cut(x, 3, 2, 4)}), n.cut(x, 3, 0, 2))
				return n.Op("Add", []string{n.Op("Mul", []string{x, cos}), n.Op("Mul", []string{r, sin})})
			}
			for _, l := range []string{"a.", "b."} {
				q, k := rotate(n.heads(x, l+"q", 4, 4)), rotate(n.heads(x, l+"k", 2, 4))
				x = n.merged(x, n.attention(q, n.shared(k), n.shared(n.heads(x, l+"v", 2, 4))), l+"o", 16)
			}
			n.result(n.linear(x, "out", 6, 3), 3)
		},
		want: []string{"4/2 heads of 4, rope true, packed false", "4/2 heads of 4, rope true, packed false"},
	},
	{
		// Each half of a head is turned by itself.
		name: "turned in halves",
		build: func(n *net) {
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			cos, sin := n.weight("cos", 5, 2), n.weight("sin", 5, 2)
			rotate := func(x string) string {
				a, b := n.cut(x, 3, 0, 2), n.cut(x, 3, 2, 4)
				mul := func(x, y string) string { return n.Op("Mul", []string{x, y}) }
				return n.concat(3, n.Op("Sub", []string{mul(a, cos), mul(b, sin)}), n.Op("Add", []string{mul(a, sin), mul(b, cos)}))
			}
			q, k := rotate(n.heads(x, "q", 4, 4)), rotate(n.heads(x, "k", 2, 4))
			x = n.merged(x, n.attention(q, n.shared(k), n.shared(n.heads(x, "v", 2, 4))), "o", 16)
			n.result(n.linear(x, "out", 6, 3), 3)
		},
		want: []string{"4/2 heads of 4, rope true, packed false"},
	},
	{
		// Queries, keys and values of one head lie side by side.
		name: "packed head by head",
		build: func(n *net) {
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			p := n.reshape(n.linear(x, "qkv", 6, 24), 0, 0, 2, 3, 4)
			part := func(i int64) string {
				g := n.Op("Gather", []string{p, n.Const(onnxgraph.Int64s("", []int64{}, []int64{i}))}, onnxgraph.IntAttr("axis", 3))
				return n.transpose(g, 0, 2, 1, 3)
			}
			n.result(n.merged(x, n.attention(part(0), part(1), part(2)), "o", 8), 3)
		},
		want: []string{"2/2 heads of 4, rope false, packed true"},
	},
	{
		// One head of keys and one of values behind those of queries.
		name: "packed as more heads",
		build: func(n *net) {
			x := n.linear(n.input("x", 5, 8), "in", 8, 6)
			p := n.reshape(n.linear(x, "qkv", 6, 20), 0, 0, 5, 4)
			q := n.transpose(n.cut(p, 2, 0, 3), 0, 2, 1, 3)
			keys := n.transpose(p, 2, 0, 1, 3)
			k := n.Op("GatherND", []string{keys, n.Const(onnxgraph.Int64s("", []int64{1, 1}, []int64{3}))})
			v := n.cut(keys, 0, -1, 1<<40)
			n.result(n.merged(x, n.attention(q, n.transpose(k, 1, 0, 2, 3), n.transpose(v, 1, 0, 2, 3)), "o", 12), 3)
		},
		want: []string{"3/1 heads of 4, rope false, packed true"},
	},
	{
		// Queries and keys come from different values: the packed bias is cut, and
		// the scale of the scores has an axis.
		name: "a bias in parts",
		build: func(n *net) {
			x, y := n.linear(n.input("x", 5, 8), "in", 8, 6), n.input("y", 4, 7)
			bias := n.weight("bias", 24)
			part := func(x, name string, in, at, time int64) string {
				p := n.Op("Add", []string{n.Op("MatMul", []string{x, n.weight(name, in, 8)}), n.cut(bias, 0, at, at+8)})
				return n.transpose(n.reshape(p, 0, time, 2, 4), 0, 2, 1, 3)
			}
			q := n.Op("Mul", []string{part(x, "q", 6, 0, 5), n.Init(onnxgraph.Floats("scale", []int64{1}, []float32{0.5}))})
			n.result(n.merged(x, n.attention(q, part(y, "k", 7, 8, 4), part(y, "v", 7, 16, 4)), "o", 8), 3)
		},
		want: []string{"2/2 heads of 4, rope false, packed false"},
	},
}

// TestSpellings finds attention however it is written, and its graph is right.
func TestSpellings(t *testing.T) {
	for _, s := range spellings {
		t.Run(s.name, func(t *testing.T) {
			g, cert := certified(t, &sample{name: s.name, build: s.build}, nil)
			var got []string
			for _, a := range g.Attention {
				got = append(got, spelled(a))
			}
			if !slices.Equal(got, s.want) {
				t.Errorf("attention %q, want %q", got, s.want)
			}
			if len(cert.Failed) > 0 || !cert.NegativeControl.Changed {
				t.Errorf("certificate: %s", cert)
			}
			for _, p := range g.Parameters {
				if p.Name == "scale" {
					t.Error("the scale counts as a weight")
				}
			}
			if len(cert.Refused.Unknown) > 0 || len(g.Opaque) > 0 {
				t.Errorf("refused without need: %v; on no edge: %v", cert.Refused.Unknown, g.Opaque)
			}
		})
	}
}

// TestFillings: numbers that are written into a mask are no parameters, though
// they lie among the initializers.
func TestFillings(t *testing.T) {
	build := func(n *net) {
		x := n.linear(n.input("x", 5, 8), "in", 8, 6)
		fill := n.Init(onnxgraph.Floats("fill", []int64{2, 5}, []float32{-9, -9, -9, -9, -9, -9, -9, -9, -9, -9}))
		rows := n.Const(onnxgraph.Int64s("", []int64{2, 1}, []int64{0, 3}))
		mask := n.Op("ScatterND", []string{n.Op("ConstantOfShape", []string{n.ints(5, 5)}), rows, fill})
		s := n.Op("MatMul", []string{n.heads(x, "q", 2, 4), n.transpose(n.heads(x, "k", 2, 4), 0, 1, 3, 2)})
		p := n.Op("Softmax", []string{n.Op("Add", []string{s, mask})}, onnxgraph.IntAttr("axis", -1))
		n.result(n.merged(x, n.Op("MatMul", []string{p, n.heads(x, "v", 2, 4)}), "o", 8), 3)
	}
	g, cert := certified(t, &sample{name: "filled mask", build: build}, nil)
	for _, p := range g.Parameters {
		if p.Name == "fill" {
			t.Errorf("%q is a parameter", p.Name)
		}
	}
	if len(g.Attention) != 1 || len(cert.Failed) > 0 {
		t.Errorf("attention %v, certificate %s", g.Attention, cert)
	}
}
