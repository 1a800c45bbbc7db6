package rewrite

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// dead drops nodes and initializers that no output of their graph needs, and
// the types of values that are gone. It counts nodes. Graph inputs stay, and
// so do the initializers that are their defaults.
func dead(m *onnxgraph.Model, _ *op.Registry) (int, error) {
	return dropDead(m.Graph), nil
}

// dropDead works from the inside out, so that what only dead nodes of a
// subgraph captured is dead as well.
func dropDead(g *onnxgraph.Graph) int {
	count := 0
	live := map[string]bool{}
	for _, v := range g.Outputs {
		live[v.Name] = true
	}
	var kept []*onnxgraph.Node
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return out != "" && live[out] }) {
			count++
			continue
		}
		for _, sub := range n.Subgraphs() {
			count += dropDead(sub)
		}
		for _, in := range n.Reads() {
			live[in] = true
		}
		kept = append(kept, n)
	}
	slices.Reverse(kept)
	g.Nodes = kept
	for _, v := range g.Inputs {
		live[v.Name] = true
	}
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *onnxgraph.Tensor) bool { return !live[t.Name] })
	g.Sparse = slices.DeleteFunc(g.Sparse, func(s *onnxgraph.SparseTensor) bool { return !live[s.Values.Name] })
	g.ValueInfo = slices.DeleteFunc(g.ValueInfo, func(v *onnxgraph.Value) bool { return !live[v.Name] })
	return count
}
