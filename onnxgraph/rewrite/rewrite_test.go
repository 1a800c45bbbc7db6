package rewrite_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/onnxgraph/text"
)

var reg = ops.Registry()

func vec(n int64) onnxgraph.Shape { return onnxgraph.StaticShape(n) }

// node is shorthand for a node of the default domain.
func node(opType string, in, out []string, attrs ...*onnxgraph.Attribute) *onnxgraph.Node {
	return &onnxgraph.Node{Name: out[0], OpType: opType, Inputs: in, Outputs: out, Attrs: attrs}
}

func value(name string, d onnxgraph.DType, s onnxgraph.Shape) *onnxgraph.Value {
	return &onnxgraph.Value{Name: name, Type: onnxgraph.TensorOf(d, s)}
}

// model is a model of opset 17 with the float vector x[4] as input and the
// values out as outputs.
func model(nodes []*onnxgraph.Node, out ...string) *onnxgraph.Model {
	g := &onnxgraph.Graph{Name: "test", Nodes: nodes, Inputs: []*onnxgraph.Value{value("x", onnxgraph.Float, vec(4))}}
	for _, o := range out {
		g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: o})
	}
	return &onnxgraph.Model{IRVersion: 8, Opsets: []onnxgraph.Opset{{Version: 17}}, Graph: g}
}

// standard applies the passes and checks that the input model is untouched.
func standard(t *testing.T, m *onnxgraph.Model) *onnxgraph.Model {
	t.Helper()
	before, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	out, err := rewrite.Standard(m, reg)
	if err != nil {
		t.Fatal(err)
	}
	after, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("the input model was changed")
	}
	if err := rewrite.Check(out, reg); err != nil {
		t.Error(err)
	}
	return out
}

// listing writes the nodes as "Op in,in>out,out".
func listing(g *onnxgraph.Graph) string {
	var lines []string
	for _, n := range g.Nodes {
		lines = append(lines, n.Op()+" "+strings.Join(n.Inputs, ",")+">"+strings.Join(n.Outputs, ","))
	}
	return strings.Join(lines, "; ")
}

func wantListing(t *testing.T, g *onnxgraph.Graph, want string) {
	t.Helper()
	if got := listing(g); got != want {
		t.Errorf("nodes are\n%s\nexpected\n%s", got, want)
	}
}

// withFunctions has a function scale(a) = leaky(a)·a, where leaky is a second
// function whose slope is an attribute.
func withFunctions() *onnxgraph.Model {
	leaky := &onnxgraph.Attribute{Name: "alpha", Type: onnxgraph.AttrFloat, RefAttr: "slope"}
	call := func(name, in, out string, attrs ...*onnxgraph.Attribute) *onnxgraph.Node {
		n := node(name, []string{in}, []string{out}, attrs...)
		n.Domain = "local"
		return n
	}
	m := model([]*onnxgraph.Node{call("scale", "x", "y"), call("scale", "y", "z"), call("leaky", "z", "w", onnxgraph.FloatAttr("slope", 0.5))}, "w")
	m.Opsets = append(m.Opsets, onnxgraph.Opset{Domain: "local", Version: 1})
	base := []onnxgraph.Opset{{Version: 17}, {Domain: "local", Version: 1}}
	m.Functions = []*onnxgraph.Function{
		{Name: "scale", Domain: "local", Inputs: []string{"a"}, Outputs: []string{"b"}, Opsets: base,
			Nodes: []*onnxgraph.Node{call("leaky", "a", "t"), node("Mul", []string{"t", "a"}, []string{"b"})}},
		{Name: "leaky", Domain: "local", Inputs: []string{"a"}, Outputs: []string{"b"}, Opsets: base,
			Defaults: []*onnxgraph.Attribute{onnxgraph.FloatAttr("slope", 0.1)},
			Nodes:    []*onnxgraph.Node{node("LeakyRelu", []string{"a"}, []string{"b"}, leaky)}},
	}
	return m
}

func TestInlineEdges(t *testing.T) {
	// An output that is an input, one given twice, and one that the call leaves unnamed.
	m := withFunctions()
	n := node("pass", []string{"x"}, []string{"p", "q", "", "r"})
	n.Domain = "local"
	m.Graph.Nodes = []*onnxgraph.Node{n, node("Sum", []string{"p", "q", "r"}, []string{"w"})}
	m.Functions = append(m.Functions, &onnxgraph.Function{Name: "pass", Domain: "local", Inputs: []string{"a", "absent"}, Outputs: []string{"a", "b", "c", "b"}, Opsets: []onnxgraph.Opset{{Version: 17}},
		Nodes: []*onnxgraph.Node{node("Neg", []string{"a"}, []string{"b"}), node("Clip", []string{"a", "absent"}, []string{"c"})}})
	out := standard(t, m)
	wantListing(t, out.Graph, "Neg x>q; Identity x>p; Identity q>r; Sum p,q,r>w")
}

func TestInlineRefuses(t *testing.T) {
	loop := withFunctions()
	loop.Functions[1].Nodes[0].OpType, loop.Functions[1].Nodes[0].Domain = "scale", "local"
	loop.Functions[1].Nodes[0].Attrs = nil
	other := withFunctions()
	other.Functions[0].Opsets = []onnxgraph.Opset{{Version: 12}, {Domain: "local", Version: 1}}
	wide := withFunctions()
	wide.Graph.Nodes[0].Inputs = []string{"x", "x"}
	for want, m := range map[string]*onnxgraph.Model{"calls itself": loop, "uses Mul of opset 12, which differs from that of the model's opset 17": other, "2 inputs and 1 outputs, but function local:scale has 1 and 1": wide} {
		if _, err := rewrite.Standard(m, reg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, expected one that says %q", err, want)
		}
	}
}

func TestSortRefuses(t *testing.T) {
	m := model([]*onnxgraph.Node{node("Add", []string{"x", "b"}, []string{"a"}), node("Neg", []string{"a"}, []string{"b"})}, "b")
	if _, err := rewrite.Standard(m, reg); err == nil || !strings.Contains(err.Error(), "depends on the node itself") {
		t.Errorf("error is %v, expected that of a cycle", err)
	}
}

// If with the given condition: |x| or −x, each through a constant of the same
// name, as exporters make them.
func branching(cond []*onnxgraph.Node) *onnxgraph.Model {
	branch := func(opType string, by float32) *onnxgraph.Graph {
		return &onnxgraph.Graph{Name: opType, Outputs: []*onnxgraph.Value{{Name: "r"}}, Nodes: []*onnxgraph.Node{
			node("Constant", nil, []string{"k"}, onnxgraph.TensorAttr("value", onnxgraph.Scalar("", by))),
			node(opType, []string{"x"}, []string{"t"}),
			node("Mul", []string{"t", "k"}, []string{"r"}),
		}}
	}
	n := node("If", []string{"c"}, []string{"y"}, onnxgraph.GraphAttr("then_branch", branch("Abs", 2)), onnxgraph.GraphAttr("else_branch", branch("Neg", 3)))
	return model(append(cond, n), "y")
}

func TestFormsOfConstants(t *testing.T) {
	forms := []*onnxgraph.Attribute{
		onnxgraph.FloatAttr("value_float", 1.5), onnxgraph.FloatsAttr("value_floats", 1, 2), onnxgraph.IntAttr("value_int", 3), onnxgraph.IntsAttr("value_ints", 4, 5),
		onnxgraph.StringAttr("value_string", "six"), {Name: "value_strings", Type: onnxgraph.AttrStrings, Strings: [][]byte{[]byte("seven")}},
	}
	want := []string{"float[]", "float[2]", "int64[]", "int64[2]", "string[]", "string[1]"}
	m := model(nil)
	for i, a := range forms {
		name := a.Name
		m.Graph.Nodes = append(m.Graph.Nodes, node("Constant", nil, []string{name}, a), node("Identity", []string{name}, []string{"out" + name}), node("Shape", []string{"out" + name}, []string{want[i]}))
		m.Graph.Outputs = append(m.Graph.Outputs, &onnxgraph.Value{Name: "out" + name})
	}
	out := standard(t, m)
	for i, a := range forms {
		tensor := out.Graph.Initializer(a.Name)
		if tensor == nil || onnxgraph.TensorOf(tensor.DType, tensor.Shape()).String() != want[i] {
			t.Errorf("%s became %v, expected %s", a.Name, tensor, want[i])
		}
	}
}

func TestCheck(t *testing.T) {
	neg := func(in, out string) *onnxgraph.Node { return node("Neg", []string{in}, []string{out}) }
	twice := neg("x", "y")
	twice.Attrs = []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", 0), onnxgraph.IntAttr("axis", 0)}
	foreign := neg("x", "y")
	foreign.Domain = "com.example"
	softmax := node("Softmax", []string{"x"}, []string{"y"}, onnxgraph.FloatAttr("axis", 0), onnxgraph.IntAttr("axes", 1))
	cases := []struct {
		m    *onnxgraph.Model
		attr string
		want string
	}{
		{model([]*onnxgraph.Node{neg("z", "y")}, "y"), "", `check: node "y" (Neg-17): input 0 is "z", which nothing before the node defines`},
		{model([]*onnxgraph.Node{neg("x", "y"), neg("y", "x")}, "y"), "", `output 0 is "x", which is defined already`},
		{model([]*onnxgraph.Node{twice}, "y"), "axis", "set twice"},
		{model([]*onnxgraph.Node{foreign}, "y"), "", `does not import the domain "com.example"`},
		{model([]*onnxgraph.Node{neg("x", "y")}, "q"), "", `output "q" is defined by nothing`},
		{model([]*onnxgraph.Node{softmax}, "y"), "axis", "has type float, expected int"},
		{model([]*onnxgraph.Node{softmax}, "y"), "axes", "no such attribute"},
		{model([]*onnxgraph.Node{node("Clip", nil, []string{"y"})}, "y"), "", "0 inputs, expected 1 to 3"},
		{model([]*onnxgraph.Node{node("Cast", []string{"x"}, []string{"y"})}, "y"), "to", "required, but not set"},
	}
	for _, c := range cases {
		err := rewrite.Check(c.m, reg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, expected one that says %q", err, c.want)
		}
		var at *op.NodeError
		if c.attr != "" && (!errors.As(err, &at) || !strings.Contains(err.Error(), `attribute "`+c.attr+`"`)) {
			t.Errorf("error %v does not name attribute %q", err, c.attr)
		}
	}
	// The inner graph of an If sees the outer values, but not the other way round.
	if err := rewrite.Check(branching([]*onnxgraph.Node{node("Constant", nil, []string{"c"}, onnxgraph.IntAttr("value_int", 1))}), reg); err != nil {
		t.Error(err)
	}
	m := branching([]*onnxgraph.Node{node("Constant", nil, []string{"c"}, onnxgraph.IntAttr("value_int", 1))})
	m.Graph.Nodes = append(m.Graph.Nodes, neg("t", "q"))
	if err := rewrite.Check(m, reg); err == nil || !strings.Contains(err.Error(), `input 0 is "t"`) {
		t.Errorf("error is %v, expected that an inner value is not seen outside", err)
	}
}

func TestDump(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "passes")
	t.Setenv("NINOX_DUMP", dir)
	standard(t, withFunctions())
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"input"}
	for _, p := range rewrite.Passes() {
		names = append(names, p.Name)
	}
	if len(files) != 2*len(names) {
		t.Fatalf("%d files, expected two for each of %q", len(files), names)
	}
	for i, name := range names {
		model, readable := filepath.Join(dir, files[2*i].Name()), filepath.Join(dir, files[2*i+1].Name())
		if !strings.HasSuffix(model, "-"+name+".onnx") || readable != model+"txt" {
			t.Errorf("files %d are %s and %s, expected those of %s", i, model, readable, name)
		}
		m, err := onnxgraph.ReadFile(model)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(readable)
		if want := text.String(m, text.Options{Elide: 16}); err != nil || string(b) != want {
			t.Errorf("%s is (%v)\n%s\nexpected\n%s", readable, err, b, want)
		}
	}
}
