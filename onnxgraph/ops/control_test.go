package ops_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// TestControlFlow compares what inference says of a model's outputs with what
// comes out when it runs. Outputs have no types, so that all comes from the rules.
func TestControlFlow(t *testing.T) {
	cases := []struct {
		name  string
		model string
		want  string // inferred types
	}{
		{"branches of one rank", `control (float[2,3] x) => (y) <float zero = {0}> {
			sum = ReduceSum <keepdims = 0> (x)
			c = Greater (sum, zero)
			y = If (c) <
				then_branch: graph = then () => (float[] a) { a = Neg (x) },
				else_branch: graph = else () => (float[] b) { b = Concat <axis = 0> (x, x) }>
		}`, "float[?,3]"},
		{"branches of two ranks", `control (float[2,3] x) => (y) <float zero = {0}, int64[1] flat = {-1}> {
			sum = ReduceSum <keepdims = 0> (x)
			c = Greater (sum, zero)
			y = If (c) <
				then_branch: graph = then () => (float[] a) { a = Neg (x) },
				else_branch: graph = else () => (float[] b) { b = Reshape (x, flat) }>
		}`, "float[...]"},
		{"a decided branch", `control (float[2,3] x) => (y) <bool c = {0}, int64[1] flat = {-1}> {
			y = If (c) <
				then_branch: graph = then () => (float[] a) { a = Neg (x) },
				else_branch: graph = else () => (float[] b) { b = Reshape (x, flat) }>
		}`, "float[6]"},
		{"loop", `control (float[2,3] x) => (last, long, totals) <int64 four = {4}, bool true = {1}> {
			last, long, totals = Loop (four, true, x, x) <body: graph = step (int64 i, bool go, float[] s, float[] grown) => (bool on, float[] next, float[] longer, float[] total) {
				on = Identity (go)
				next = Mul (s, x)
				longer = Concat <axis = 0> (grown, x)
				total = ReduceSum <keepdims = 0> (next)
			}>
		}`, "float[2,3] float[?,3] float[4]"},
		{"scan", `control (float[2,3] x) => (hT, all) <float[2] h0 = {0, 0}> {
			hT, all = Scan (h0, x) <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [-1], body: graph = cell (float[] h, float[] column) => (float[] h2, float[] seen) {
				h2 = Add (h, column)
				seen = Identity (h2)
			}>
		}`, "float[2] float[2,3]"},
		{"list", `control (float[2,3] x) => (n, at, stack, line) <float[2] h0 = {0, 0}, int64 one = {1}> {
			list = SplitToSequence <axis = 1, keepdims = 0> (x)
			more = SequenceInsert (list, h0)
			n = SequenceLength (more)
			at = SequenceAt (list, one)
			stack = ConcatFromSequence <axis = 0, new_axis = 1> (more)
			line = ConcatFromSequence <axis = 0> (list)
		}`, "int64[] float[2] float[?,2] float[?]"},
	}
	engine := runtimetest.Engine(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := text.MustParse(`<ir_version: 8, opset_import: ["" : 17]>` + c.model)
			facts, err := infer.Run(m, ops.Registry(), infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range m.Graph.Outputs {
				o.Type = facts.Fact(o.Name).Type
				got = append(got, o.Type.String())
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("inferred %s, expected %s", s, c.want)
			}
			session, err := engine.NewSession(m, ort.SessionOptions{Threads: 1})
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
			for _, o := range m.Graph.Outputs {
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

// TestWrongBranch: a branch whose shapes do not fit is one that no run takes;
// where both are wrong the node is.
func TestWrongBranch(t *testing.T) {
	model := func(other string) *onnxgraph.Model {
		return text.MustParse(`<ir_version: 8, opset_import: ["" : 17]> branches (bool c, float[2,3] x, float[4] w) => (y) {
			y = If (c) <then_branch: graph = fits () => (a) { a = Transpose (x) }, else_branch: graph = other () => (b) { b = ` + other + ` }>
		}`)
	}
	facts, err := infer.Run(model("Add (x, w)"), ops.Registry(), infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := facts.Fact("y").Type.String(); got != "float[3,2]" {
		t.Errorf("y is %s, expected float[3,2]", got)
	}
	m := model("Add (x, w)")
	m.Graph.Nodes[0].Attr("then_branch").G.Nodes[0] = m.Graph.Nodes[0].Attr("else_branch").G.Nodes[0].Clone()
	m.Graph.Nodes[0].Attr("then_branch").G.Nodes[0].Outputs = []string{"a"}
	if _, err := infer.Run(m, ops.Registry(), infer.Options{}); err == nil || !strings.Contains(err.Error(), "do not broadcast") {
		t.Errorf("two wrong branches: %v", err)
	}
}
