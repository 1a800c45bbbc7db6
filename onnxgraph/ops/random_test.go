package ops_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
	"ninox/training/autodiff"
)

// TestNothingPanics gives every operator random nodes, most of them wrong: a
// rule may refuse a node, but never panic, and what it infers must be
// consistent.
func TestNothingPanics(t *testing.T) {
	const nodes = 300
	accepted, gradients := 0, 0
	for _, def := range ops.Registry().All() {
		for seed := range uint64(nodes) {
			m := randomModel(rand.New(rand.NewPCG(seed, 3)), def)
			func() {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("%s, seed %d: %v\n%s\n%s", def.Name, seed, r, describe(m), debug.Stack())
					}
				}()
				facts, err := infer.Run(m, ops.Registry(), infer.Options{})
				if err != nil {
					return
				}
				accepted++
				n := m.Graph.Nodes[0]
				consistent(t, n, facts)
				c := &recorder{node: n, facts: facts}
				_ = def.Flow.Apply(c) // may refuse
				if differentiated(m, facts) {
					gradients++
				}
			}()
		}
	}
	if accepted < 1000 || gradients < 1000 {
		t.Errorf("only %d random nodes were accepted and %d differentiated, the test checks little", accepted, gradients)
	}
}

// differentiated derives the gradients of the sum of output 0, if that is
// possible, and says whether there were any.
func differentiated(m *onnxgraph.Model, facts *infer.Result) bool {
	n := m.Graph.Nodes[0]
	if len(n.Outputs) == 0 {
		return false
	}
	sum := &onnxgraph.Node{Name: "sum", OpType: "ReduceSum", Inputs: n.Outputs[:1], Outputs: []string{"sum"}, Attrs: with(i("keepdims", 0))}
	var wrt []string
	for _, name := range n.Inputs {
		if f := facts.Fact(name); f.DType().IsFloat() && f.Const == nil && !slices.Contains(wrt, name) {
			wrt = append(wrt, name)
		}
	}
	if len(wrt) == 0 || facts.Add(sum) != nil {
		return false
	}
	m.Graph.Nodes = append(m.Graph.Nodes, sum)
	_, err := autodiff.Gradients(m, ops.Registry(), facts, autodiff.Options{Loss: "sum", Wrt: wrt})
	return err == nil
}

// consistent checks that values and shapes of one fact agree.
func consistent(t *testing.T, n *onnxgraph.Node, facts *infer.Result) {
	t.Helper()
	for _, name := range n.Outputs {
		f := facts.Fact(name)
		if f == nil {
			continue
		}
		for a, d := range f.Shape() {
			if d.Value < -1 {
				t.Errorf("%s: axis %d of %s", n.OpType, a, f.Shape())
			}
		}
		if f.Const == nil {
			continue
		}
		if dims, ok := f.Shape().Static(); !ok || fmt.Sprint(dims) != fmt.Sprint(f.Const.Dims) || f.Const.DType != f.DType() {
			t.Errorf("%s: the constant is %s%v, the type %s", n.OpType, f.Const.DType, f.Const.Dims, f.Type)
		}
	}
}

func describe(m *onnxgraph.Model) string {
	n := m.Graph.Nodes[0]
	out := n.Op() + "\n"
	for _, v := range m.Graph.Inputs {
		out += fmt.Sprintf("  %s %s\n", v.Name, v.Type)
	}
	for _, v := range m.Graph.Initializers {
		ints, _ := v.AsInts()
		out += fmt.Sprintf("  %s %s%v %v\n", v.Name, v.DType, v.Dims, ints)
	}
	for _, a := range n.Attrs {
		out += fmt.Sprintf("  %s: %d %g %q %v %v\n", a.Name, a.I, a.F, a.S, a.Ints, a.Floats)
	}
	return fmt.Sprint(out, "  inputs ", n.Inputs, " outputs ", n.Outputs, " opset ", m.OpsetVersion(""))
}

// randomModel is one node with random inputs and attributes.
func randomModel(r *rand.Rand, def *op.Def) *onnxgraph.Model {
	b := onnxgraph.NewBuilder("random", 7+r.Int64N(18))
	if def.Domain != "" {
		b.Import(def.Domain, 1)
	}
	count := func(a op.Arity) int {
		most := a.Max
		if most < 0 {
			most = a.Min + 3
		}
		return a.Min + r.IntN(most-a.Min+1)
	}
	shape := randomShape(r)
	var inputs []string
	for i := range count(def.In) {
		if i >= def.In.Min && r.IntN(5) == 0 {
			inputs = append(inputs, "")
			continue
		}
		inputs = append(inputs, randomInput(r, b, fmt.Sprintf("in%d", i), shape))
	}
	var attrs []*onnxgraph.Attribute
	for _, a := range def.Attrs {
		if a.Required || r.IntN(3) == 0 {
			attrs = append(attrs, randomAttr(r, a))
		}
	}
	var outputs []string
	for i := range count(def.Out) {
		outputs = append(outputs, fmt.Sprintf("out%d", i))
	}
	b.Node(def.Domain, def.Name, inputs, outputs, attrs...)
	m, _ := b.Model()
	return m
}

func randomShape(r *rand.Rand) onnxgraph.Shape {
	s := onnxgraph.Shape{}
	for range r.IntN(5) {
		switch r.IntN(6) {
		case 0:
			s = append(s, onnxgraph.Sym(string(rune('a'+r.IntN(3)))))
		case 1:
			s = append(s, onnxgraph.UnknownDim())
		case 2:
			s = append(s, dim(1))
		default:
			s = append(s, dim(r.Int64N(7)))
		}
	}
	return s
}

func randomInput(r *rand.Rand, b *onnxgraph.Builder, name string, like onnxgraph.Shape) string {
	types := []onnxgraph.DType{onnxgraph.Float, onnxgraph.Float, onnxgraph.Float, onnxgraph.Int64, onnxgraph.Int32, onnxgraph.Bool, onnxgraph.Double, onnxgraph.String}
	switch r.IntN(6) {
	case 0:
		return b.Input(name, types[r.IntN(len(types))], nil)
	case 1:
		return b.Input(name, types[r.IntN(len(types))], randomShape(r))
	case 2:
		v := make([]int64, r.IntN(5))
		for i := range v {
			v[i] = r.Int64N(9) - 3
			if r.IntN(9) == 0 {
				v[i] = 1<<62 - r.Int64N(2)<<63
			}
		}
		return b.Const(onnxgraph.Vector("", v...))
	case 3:
		return b.Const(onnxgraph.Int64s("", []int64{}, []int64{r.Int64N(9) - 3}))
	case 4:
		return b.Const(onnxgraph.Scalar("", float32(r.NormFloat64())))
	}
	return b.Input(name, types[r.IntN(3)], like.Clone())
}

func randomAttr(r *rand.Rand, a op.AttrSpec) *onnxgraph.Attribute {
	v := func() int64 { return r.Int64N(8) - 2 }
	out := &onnxgraph.Attribute{Name: a.Name, Type: a.Type, I: v(), F: float32(v())}
	for range r.IntN(5) {
		out.Ints = append(out.Ints, v())
		out.Floats = append(out.Floats, float32(v()))
		out.Strings = append(out.Strings, []byte("Relu"))
	}
	words := []string{"", "SAME_UPPER", "VALID", "reflect", "add", "ij,jk->ik", "...i->i...", "bidirectional", "mean", "tanh", "linear"}
	out.S = []byte(words[r.IntN(len(words))])
	out.T = onnxgraph.Scalar("", 1)
	out.TP = &onnxgraph.Type{Kind: onnxgraph.TensorKind, DType: onnxgraph.Float}
	if a.Type == onnxgraph.AttrGraph {
		out.G = &onnxgraph.Graph{Name: "body"}
	}
	return out
}
