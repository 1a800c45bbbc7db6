package rewrite_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// doubling is a model of functions, each of which calls the next one twice.
func doubling(levels int) *onnxgraph.Model {
	call := func(name, in, out string) *onnxgraph.Node {
		return &onnxgraph.Node{OpType: name, Domain: "f", Inputs: []string{in}, Outputs: []string{out}}
	}
	m := &onnxgraph.Model{IRVersion: 8, Opsets: []onnxgraph.Opset{{Version: 17}, {Domain: "f", Version: 1}}, Graph: &onnxgraph.Graph{
		Inputs:  []*onnxgraph.Value{{Name: "x", Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(2))}},
		Outputs: []*onnxgraph.Value{{Name: "y"}},
		Nodes:   []*onnxgraph.Node{call("f0", "x", "y")},
	}}
	for i := range levels {
		next := fmt.Sprintf("f%d", i+1)
		m.Functions = append(m.Functions, &onnxgraph.Function{Name: fmt.Sprintf("f%d", i), Domain: "f", Inputs: []string{"a"}, Outputs: []string{"b"},
			Opsets: []onnxgraph.Opset{{Version: 17}, {Domain: "f", Version: 1}}, Nodes: []*onnxgraph.Node{call(next, "a", "m"), call(next, "m", "b")}})
	}
	m.Functions = append(m.Functions, &onnxgraph.Function{Name: fmt.Sprintf("f%d", levels), Domain: "f", Inputs: []string{"a"}, Outputs: []string{"b"},
		Opsets: []onnxgraph.Opset{{Version: 17}}, Nodes: []*onnxgraph.Node{{OpType: "Relu", Inputs: []string{"a"}, Outputs: []string{"b"}}}})
	return m
}

// Functions that expand exponentially are refused before memory runs out.
func TestInliningIsCapped(t *testing.T) {
	m, err := rewrite.Standard(doubling(5), ops.Registry())
	if err != nil || len(m.Graph.Nodes) != 32 {
		t.Fatalf("five levels: %v", err)
	}
	start := time.Now()
	_, err = rewrite.Standard(doubling(60), ops.Registry())
	if err == nil || !strings.Contains(err.Error(), "expand to more than") {
		t.Errorf("60 levels: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("refused after %v", took)
	}
}
