package rewrite_test

import (
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
)

func microsoft(n *onnxgraph.Node) bool { return n.Domain == "com.microsoft" }

func gelu(in, out string) *onnxgraph.Node {
	n := node("Gelu", []string{in}, []string{out})
	n.Domain = "com.microsoft"
	return n
}

func TestLower(t *testing.T) {
	m := model([]*onnxgraph.Node{gelu("x", "y"), node("Mish", []string{"y"}, []string{"z"})}, "z")
	m.Opsets = []onnxgraph.Opset{{Version: 18}, {Domain: "com.microsoft", Version: 1}}
	low, err := rewrite.Lower(m, reg, microsoft)
	if err != nil {
		t.Fatal(err)
	}
	wantListing(t, m.Graph, "com.microsoft:Gelu x>y; Mish y>z")
	for _, n := range low.Graph.Nodes {
		if microsoft(n) {
			t.Errorf("%s is left", n.Op())
		}
	}
	last := low.Graph.Nodes[len(low.Graph.Nodes)-1]
	if last.OpType != "Mish" || last.Input(0) != "y" {
		t.Errorf("the last node is %s %v: what was not asked for must stay, and read the same values", last.Op(), last.Inputs)
	}
	if err := rewrite.Check(low, reg); err != nil {
		t.Error(err)
	}
}

func TestLowerInBranches(t *testing.T) {
	m := branching(nil)
	m.Graph.Inputs = append(m.Graph.Inputs, value("c", onnxgraph.Bool, onnxgraph.Shape{}))
	m.Opsets = append(m.Opsets, onnxgraph.Opset{Domain: "com.microsoft", Version: 1})
	for i := range 2 {
		g := m.Graph.Nodes[0].Attrs[i].G
		g.Nodes[1] = gelu("x", "t")
	}
	low, err := rewrite.Lower(m, reg, microsoft)
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite.Check(low, reg); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if s := listing(low.Graph.Nodes[0].Attrs[i].G); strings.Contains(s, "Gelu") || !strings.Contains(s, "Erf") {
			t.Errorf("branch %d is %s, expected the lowering of Gelu", i, s)
		}
	}
}

// A lowering that emits its own operator must end in an error, and so must one
// that forgets an output.
func TestLowerFaults(t *testing.T) {
	def := func(rule func(c op.LowerCtx) error) *op.Registry {
		d := *reg.Lookup("com.microsoft", "Gelu")
		d.Domain, d.Name, d.Lower = "", "Odd", op.Lowering(rule)
		return op.NewRegistry(&d, reg.Lookup("", "Identity"), reg.Lookup("", "Neg"))
	}
	m := model([]*onnxgraph.Node{node("Odd", []string{"x"}, []string{"y"})}, "y")
	all := func(*onnxgraph.Node) bool { return true }
	_, err := rewrite.Lower(m, def(func(c op.LowerCtx) error {
		c.SetO(0, c.Emit("Odd", []string{c.I(0)}))
		return nil
	}), all)
	if err == nil || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("error is %v, expected that lowering does not end", err)
	}
	_, err = rewrite.Lower(m, def(func(c op.LowerCtx) error {
		c.Emit("Neg", []string{c.I(0)})
		return nil
	}), all)
	if err == nil || !strings.Contains(err.Error(), "does not set output 0") {
		t.Errorf("error is %v, expected that output 0 is not set", err)
	}
	_, err = rewrite.Lower(m, def(func(c op.LowerCtx) error {
		c.SetO(0, c.I(0)) // the input itself: the output still gets a node of its own
		return nil
	}), all)
	if err != nil {
		t.Error(err)
	}
}
