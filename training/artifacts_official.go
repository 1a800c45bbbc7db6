package training

import (
	"fmt"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// lowerOfficial replaces the operators that only upstream's training build
// has (those of com.microsoft, and a few that it puts into the default domain)
// by standard ones.
func lowerOfficial(m *onnxgraph.Model) (*onnxgraph.Model, error) {
	reg := ops.Registry()
	std, err := rewrite.Standard(m, reg)
	if err != nil {
		return nil, err
	}
	low, err := rewrite.Lower(std, reg, upstreamOnly)
	if err != nil {
		return nil, err
	}
	var left []string
	low.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			if upstreamOnly(n) && !slices.Contains(left, n.Op()) {
				left = append(left, n.Op())
			}
		}
	})
	if len(left) > 0 {
		return nil, fmt.Errorf("the training model uses operators that have no form in standard ONNX: %s", strings.Join(left, ", "))
	}
	low.Opsets = slices.DeleteFunc(low.Opsets, func(o onnxgraph.Opset) bool { return o.Domain != "" })
	// Folding and sharing again: lowerings compute sizes that are known.
	return rewrite.Standard(low, reg)
}

// upstreamOnly says whether the node's operator is none of the ONNX standard.
func upstreamOnly(n *onnxgraph.Node) bool {
	if n.Domain != "" {
		return true
	}
	switch n.OpType {
	case "SimplifiedLayerNormalization", "MaxPoolGrad", "AveragePoolGrad":
		return true
	}
	return false
}
