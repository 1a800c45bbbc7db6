package infer_test

import (
	"strings"
	"testing"
	"time"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
)

// nestedLoops is a model of loops in loops. Each doubles the length of its
// state, so that it is inferred twice, and with it those inside it.
func nestedLoops(t testing.TB, levels int) *onnxgraph.Model {
	t.Helper()
	vector := onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(2))
	double := &onnxgraph.Node{OpType: "Concat", Inputs: []string{"s", "s"}, Outputs: []string{"out"}, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", 0)}}
	body := func(nodes ...*onnxgraph.Node) *onnxgraph.Graph {
		return &onnxgraph.Graph{
			Name:    "body",
			Inputs:  []*onnxgraph.Value{{Name: "i", Type: onnxgraph.TensorOf(onnxgraph.Int64, onnxgraph.Shape{})}, {Name: "c", Type: onnxgraph.TensorOf(onnxgraph.Bool, onnxgraph.Shape{})}, {Name: "s"}},
			Outputs: []*onnxgraph.Value{{Name: "c"}, {Name: "out"}},
			Nodes:   nodes,
		}
	}
	g := body(double)
	for range levels - 1 {
		g = body(double, &onnxgraph.Node{OpType: "Loop", Inputs: []string{"n", "c", "x"}, Outputs: []string{"other"}, Attrs: []*onnxgraph.Attribute{onnxgraph.GraphAttr("body", g)}})
	}
	return &onnxgraph.Model{IRVersion: 8, Opsets: []onnxgraph.Opset{{Version: 17}}, Graph: &onnxgraph.Graph{
		Inputs:       []*onnxgraph.Value{{Name: "x", Type: vector}, {Name: "cond", Type: onnxgraph.TensorOf(onnxgraph.Bool, onnxgraph.Shape{})}},
		Initializers: []*onnxgraph.Tensor{onnxgraph.Int64s("n", []int64{}, []int64{3})},
		Nodes:        []*onnxgraph.Node{{OpType: "Loop", Inputs: []string{"n", "cond", "x"}, Outputs: []string{"y"}, Attrs: []*onnxgraph.Attribute{onnxgraph.GraphAttr("body", g)}}},
		Outputs:      []*onnxgraph.Value{{Name: "y"}},
	}}
}

// Loops in loops in loops, whose inference takes exponentially long, are
// refused in time; some are inferred.
func TestNestedLoops(t *testing.T) {
	facts, err := infer.Run(nestedLoops(t, 4), ops.Registry(), infer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := facts.Fact("y").Type.String(); got != "float[?]" {
		t.Errorf("the state is %s, expected float[?]", got)
	}
	start := time.Now()
	_, err = infer.Run(nestedLoops(t, 30), ops.Registry(), infer.Options{})
	if err == nil || !strings.Contains(err.Error(), "nest so deep") {
		t.Errorf("30 nested loops: %v", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("refused after %v", took)
	}
}
