package ops_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

func named(opType string, in, out []string, a ...*onnxgraph.Attribute) *onnxgraph.Node {
	return &onnxgraph.Node{Name: out[0], OpType: opType, Inputs: in, Outputs: out, Attrs: a}
}

func typed(name string, d onnxgraph.DType, dims ...int64) *onnxgraph.Value {
	return &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(d, onnxgraph.StaticShape(dims...))}
}

// untyped leaves it to inference to say what a body's value is.
func untyped(names ...string) []*onnxgraph.Value {
	var out []*onnxgraph.Value
	for _, n := range names {
		out = append(out, &onnxgraph.Value{Name: n, Type: onnxgraph.TensorOf(onnxgraph.Float, nil)})
	}
	return out
}

func logic(name string, v byte) *onnxgraph.Tensor {
	return &onnxgraph.Tensor{Name: name, DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{v}}
}

// controlModel runs nodes on the float input x[2,3].
func controlModel(nodes []*onnxgraph.Node, inits []*onnxgraph.Tensor, outputs ...string) *onnxgraph.Model {
	g := &onnxgraph.Graph{Name: "control", Nodes: nodes, Initializers: inits, Inputs: []*onnxgraph.Value{typed("x", onnxgraph.Float, 2, 3)}}
	for _, o := range outputs {
		g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: o})
	}
	return &onnxgraph.Model{IRVersion: 8, Opsets: []onnxgraph.Opset{{Version: 17}}, Graph: g}
}

func branch(n *onnxgraph.Node, out string) *onnxgraph.Graph {
	return &onnxgraph.Graph{Name: out, Nodes: []*onnxgraph.Node{n}, Outputs: untyped(out)}
}

// TestControlFlow compares what inference says of a model's outputs with what
// comes out when it runs.
func TestControlFlow(t *testing.T) {
	condition := []*onnxgraph.Node{
		named("ReduceSum", []string{"x"}, []string{"sum"}, i("keepdims", 0)),
		named("Greater", []string{"sum", "zero"}, []string{"c"}),
	}
	zero := onnxgraph.Scalar("zero", 0)
	choose := func(b *onnxgraph.Graph) *onnxgraph.Node {
		return named("If", []string{"c"}, []string{"y"}, onnxgraph.GraphAttr("then_branch", branch(named("Neg", []string{"x"}, []string{"a"}), "a")), onnxgraph.GraphAttr("else_branch", b))
	}
	double := branch(named("Concat", []string{"x", "x"}, []string{"b"}, i("axis", 0)), "b")
	flat := branch(named("Reshape", []string{"x", "flat"}, []string{"b"}), "b")

	step := &onnxgraph.Graph{Name: "step", Inputs: append([]*onnxgraph.Value{typed("i", onnxgraph.Int64), typed("go", onnxgraph.Bool)}, untyped("s", "grown")...),
		Nodes: []*onnxgraph.Node{
			named("Identity", []string{"go"}, []string{"on"}), named("Mul", []string{"s", "x"}, []string{"next"}),
			named("Concat", []string{"grown", "x"}, []string{"longer"}, i("axis", 0)), named("ReduceSum", []string{"next"}, []string{"total"}, i("keepdims", 0)),
		},
		Outputs: append([]*onnxgraph.Value{typed("on", onnxgraph.Bool)}, untyped("next", "longer", "total")...)}
	loop := named("Loop", []string{"four", "true", "x", "x"}, []string{"last", "long", "totals"}, onnxgraph.GraphAttr("body", step))

	cell := &onnxgraph.Graph{Name: "cell", Inputs: untyped("h", "column"),
		Nodes:   []*onnxgraph.Node{named("Add", []string{"h", "column"}, []string{"h2"}), named("Identity", []string{"h2"}, []string{"seen"})},
		Outputs: untyped("h2", "seen")}
	scan := named("Scan", []string{"h0", "x"}, []string{"hT", "all"}, onnxgraph.GraphAttr("body", cell), i("num_scan_inputs", 1), is("scan_input_axes", 1), is("scan_output_axes", -1))

	cases := []struct {
		name string
		m    *onnxgraph.Model
		want string // inferred types
	}{
		{"branches of one rank", controlModel(append(condition, choose(double)), []*onnxgraph.Tensor{zero}, "y"), "float[?,3]"},
		{"branches of two ranks", controlModel(append(condition, choose(flat)), []*onnxgraph.Tensor{zero, onnxgraph.Vector("flat", -1)}, "y"), "float[...]"},
		{"a decided branch", controlModel([]*onnxgraph.Node{choose(flat)}, []*onnxgraph.Tensor{logic("c", 0), onnxgraph.Vector("flat", -1)}, "y"), "float[6]"},
		{"loop", controlModel([]*onnxgraph.Node{loop}, []*onnxgraph.Tensor{onnxgraph.Int64s("four", []int64{}, []int64{4}), logic("true", 1)}, "last", "long", "totals"), "float[2,3] float[?,3] float[4]"},
		{"scan", controlModel([]*onnxgraph.Node{scan}, []*onnxgraph.Tensor{onnxgraph.Floats("h0", []int64{2}, []float32{0, 0})}, "hT", "all"), "float[2] float[2,3]"},
		{"list", controlModel([]*onnxgraph.Node{
			named("SplitToSequence", []string{"x"}, []string{"list"}, i("axis", 1), i("keepdims", 0)), named("SequenceInsert", []string{"list", "h0"}, []string{"more"}),
			named("SequenceLength", []string{"more"}, []string{"n"}), named("SequenceAt", []string{"list", "one"}, []string{"at"}),
			named("ConcatFromSequence", []string{"more"}, []string{"stack"}, i("axis", 0), i("new_axis", 1)), named("ConcatFromSequence", []string{"list"}, []string{"line"}, i("axis", 0)),
		}, []*onnxgraph.Tensor{onnxgraph.Floats("h0", []int64{2}, []float32{0, 0}), onnxgraph.Int64s("one", []int64{}, []int64{1})}, "n", "at", "stack", "line"), "int64[] float[2] float[?,2] float[?]"},
	}
	engine := runtimetest.Engine(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			facts, err := infer.Run(c.m, ops.Registry(), infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range c.m.Graph.Outputs {
				o.Type = facts.Fact(o.Name).Type
				got = append(got, o.Type.String())
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("inferred %s, expected %s", s, c.want)
			}
			session, err := engine.NewSession(c.m, ort.SessionOptions{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			x, err := ort.FloatValue([]int64{2, 3}, []float32{1, 2, 3, 4, 5, 6})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			out, err := session.Run(context.Background(), map[string]*ort.Value{"x": x})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range c.m.Graph.Outputs {
				if err := holds(o.Type, out[o.Name]); err != nil {
					t.Errorf("%s: %v", o.Name, err)
				}
				out[o.Name].Close()
			}
		})
	}
}

// holds says whether a value has a type.
func holds(typ onnxgraph.Type, v *ort.Value) error {
	dims := v.Dims()
	if v.DType() != typ.DType || typ.Shape != nil && len(typ.Shape) != len(dims) {
		return fmt.Errorf("inferred %s, executed %s%v", typ, v.DType(), dims)
	}
	for a, d := range typ.Shape {
		if d.IsKnown() && d.Value != dims[a] {
			return fmt.Errorf("inferred %s, executed %s%v", typ, v.DType(), dims)
		}
	}
	return nil
}
