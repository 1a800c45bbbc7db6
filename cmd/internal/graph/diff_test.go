package graph

import (
	"fmt"
	"slices"
	"testing"

	"ninox/onnxgraph"
)

// network is a stack of layers with a residual connection, whose names all
// begin with a prefix.
type network struct {
	prefix  string
	width   int64
	act     string
	alpha   float32 // of LeakyRelu
	scale   float32 // of the second weight
	skip    string  // the layer to which the residual connection leads back: "a" or "x"
	swapped bool    // independent nodes in another order
}

func (k network) view(t *testing.T) *view {
	t.Helper()
	b := onnxgraph.NewBuilder("m", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym(k.prefix + "n"), onnxgraph.Known(4)})
	weight := func(name string, in, out int64, scale float32) string {
		w := make([]float32, in*out)
		for i := range w {
			w[i] = scale * (float32(i%7-3) + float32(name[0]-'p')/8)
		}
		return b.Init(onnxgraph.Floats(k.prefix+name, []int64{in, out}, w))
	}
	branch := func(name, from string) string {
		h := b.Named(k.prefix+name+"_up", "MatMul", []string{from, weight(name+"_w1", 4, k.width, 0.1)})
		if k.act == "LeakyRelu" {
			h = b.Named(k.prefix+name+"_act", "LeakyRelu", []string{h}, onnxgraph.FloatAttr("alpha", k.alpha))
		} else {
			h = b.Named(k.prefix+name+"_act", k.act, []string{h})
		}
		return b.Named(k.prefix+name+"_down", "MatMul", []string{h, weight(name+"_w2", k.width, 4, k.scale)})
	}
	var p, q string
	if k.swapped {
		q = branch("q", x)
		p = branch("p", x)
	} else {
		p = branch("p", x)
		q = branch("q", x)
	}
	a := b.Named(k.prefix+"a", "Add", []string{p, q})
	c := b.Named(k.prefix+"c", "Tanh", []string{a})
	back := map[string]string{"a": a, "x": x}[k.skip]
	b.Output(b.Named(k.prefix+"y", "Mul", []string{c, back}), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym(k.prefix + "n"), onnxgraph.Known(4)})
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	v, err := analyse(m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func texts(changes []Change) []string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%s %s: %s", c.Kind, c.Name, c.text()))
	}
	return out
}

func TestCompare(t *testing.T) {
	base := network{width: 8, act: "Relu", scale: 0.2, skip: "a"}
	with := func(change func(*network)) network {
		n := base
		change(&n)
		return n
	}
	leaky := with(func(n *network) { n.act, n.alpha = "LeakyRelu", 0.1 })
	for name, k := range map[string]struct {
		a, b network
		want []string // changes
	}{
		"equal":       {base, base, nil},
		"other order": {base, with(func(n *network) { n.swapped = true }), nil},
		"other names": {base, with(func(n *network) { n.prefix = "model." }), nil},
		"values": {base, with(func(n *network) { n.scale = 0.3 }), []string{
			"parameter p_w2: other values, by up to 0.3", "parameter q_w2: other values, by up to 0.313"}},
		"attribute": {leaky, with(func(n *network) { n.act, n.alpha = "LeakyRelu", 0.25 }), []string{
			"operator p_act: LeakyRelu (alpha=0.1) -> LeakyRelu (alpha=0.25)", "operator q_act: LeakyRelu (alpha=0.1) -> LeakyRelu (alpha=0.25)"}},
		"operator": {base, with(func(n *network) { n.act = "Sigmoid" }), []string{
			"operator p_act: removed: Relu", "operator q_act: removed: Relu", "operator p_act: added: Sigmoid", "operator q_act: added: Sigmoid"}},
		"wiring": {base, with(func(n *network) { n.skip = "x" }), []string{"operator y: Mul, input 1 from a -> Mul, input 1 from x"}},
		"width": {base, with(func(n *network) { n.width = 6 }), []string{
			"parameter p_w1: float[4,8] -> float[4,6]", "parameter p_w2: float[8,4] -> float[6,4]",
			"parameter q_w1: float[4,8] -> float[4,6]", "parameter q_w2: float[8,4] -> float[6,4]",
			"group hidden of 8: removed: 2×", "group hidden of 6: added: 2×",
			"block p_w2: linear hidden of 8 → fixed output of 4 -> linear hidden of 6 → fixed output of 4",
			"block q_w1: linear fixed input of 4 → hidden of 8 -> linear fixed input of 4 → hidden of 6",
			"block q_w2: linear hidden of 8 → fixed output of 4 -> linear hidden of 6 → fixed output of 4",
			"block p_w1: linear fixed input of 4 → hidden of 8 -> linear fixed input of 4 → hidden of 6"}},
	} {
		changes, renamed := compare(k.a.view(t), k.b.view(t))
		got := texts(changes)
		if k.want == nil && len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
		for _, w := range k.want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", name, got, w)
			}
		}
		if name != "wiring" && len(got) != len(k.want) { // wiring has consequences
			t.Errorf("%s: %d changes, expected %d: %q", name, len(got), len(k.want), got)
		}
		if want := map[bool]int{true: 4}[name == "other names"]; len(renamed) != want {
			t.Errorf("%s: renamed %v", name, renamed)
		}
	}
}

// TestCompareUnread: what no operator reads corresponds by its name, or by
// its content.
func TestCompareUnread(t *testing.T) {
	model := func(names ...string) *view {
		b := onnxgraph.NewBuilder("m", 17)
		x := b.Input("x", onnxgraph.Float, onnxgraph.StaticShape(1, 2))
		b.Output(b.Op("Relu", []string{x}), onnxgraph.Float, nil)
		for i, name := range names {
			b.Init(onnxgraph.Floats(name, []int64{1}, []float32{float32(i)}))
		}
		m, err := b.Model()
		if err != nil {
			t.Fatal(err)
		}
		return &view{model: m}
	}
	m := match(model("a", "b", "c").model, model("a", "d").model)
	pairs := m.parameters()
	if len(pairs) != 2 || pairs["a"] != "a" || pairs["b"] != "d" {
		t.Errorf("pairs %v", pairs)
	}
}
