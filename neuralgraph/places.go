package neuralgraph

import (
	"slices"

	"ninox/onnxgraph"
)

// Tables of frequencies (of rotary embeddings, of linear biases) are multiplied
// by the numbers of the places, of which sines may be taken, and by nothing
// else. Tables of the sines themselves are addressed by the places, and
// multiply data. Both stand among the initializers, but nobody trains them.

// products are the operators that multiply a table by places.
var products = map[string]bool{"Mul": true, "Div": true, "MatMul": true, "Gemm": true, "Einsum": true}

// rearranged are the operators behind which a table still is the same table.
var rearranged = map[string]bool{
	"Identity": true, "Cast": true, "Reshape": true, "Transpose": true, "Squeeze": true, "Unsqueeze": true, "Expand": true, "Flatten": true,
}

// frequencies says whether the parameter is only ever multiplied by places
// (values that depend on no data), or an angle, or a factor that places choose.
// What follows may not meet another weight before it meets data: a network over
// places is trained. So is a single number that scales a table.
func (g *Graph) frequencies(p *Parameter) bool {
	if p.Elements() < 2 {
		return false
	}
	a := g.analysis
	var found []string
	chosen := map[string]bool{} // rows, chosen by places
	seen := map[string]bool{p.Name: true}
	for queue := []string{p.Name}; len(queue) > 0; queue = queue[1:] {
		for _, n := range a.consumers[queue[0]] {
			out := n.Output(0)
			switch {
			case n.OpType == "Shape" || n.OpType == "Size" || seen[out]:
				continue
			case n.OpType == "Cos" || n.OpType == "Sin" || products[n.OpType] && !a.constant[out] && !a.byData[out]:
				found = append(found, out)
			case n.OpType == "Mul" && chosen[queue[0]]:
				found = append(found, out)
			case (n.OpType == "Gather" || n.OpType == "Slice") && n.Input(0) == queue[0] && !a.constant[out] && !a.byData[out]:
				chosen[out] = true
				queue = append(queue, out)
			case rearranged[n.OpType] && n.Input(0) == queue[0] || a.constant[out]:
				chosen[out] = chosen[queue[0]]
				queue = append(queue, out)
			default:
				return false
			}
			seen[out] = true
		}
	}
	return len(found) > 0 && !g.meetsWeight(found)
}

// meetsWeight says whether a linear layer follows on values before they meet
// data.
func (g *Graph) meetsWeight(values []string) bool {
	a := g.analysis
	layers := map[*onnxgraph.Node]bool{}
	for _, list := range g.uses {
		for _, u := range list {
			if u.linear {
				layers[u.node] = true
			}
		}
	}
	weighted := func(n *onnxgraph.Node) bool { // between constants it is no use of the weight
		return products[n.OpType] && slices.ContainsFunc(n.Inputs, func(in string) bool { return g.uses[in] != nil && a.facts.Fact(in).Rank() > 1 })
	}
	seen := map[string]bool{}
	for queue := values; len(queue) > 0; queue = queue[1:] {
		if a.byData[queue[0]] {
			continue
		}
		for _, n := range a.consumers[queue[0]] {
			if layers[n] || weighted(n) {
				return true
			}
			for _, out := range n.Outputs {
				if out != "" && !seen[out] && !a.byData[out] {
					seen[out] = true
					queue = append(queue, out)
				}
			}
		}
	}
	return false
}

// tables says which values neither depend on data nor on weights: masks,
// places, angles and their sines.
func (g *Graph) tables(params []Parameter) map[string]bool {
	a := g.analysis
	learned := map[string]bool{}
	for _, p := range params {
		learned[p.Name] = !g.frequencies(&p)
	}
	out := map[string]bool{}
	for _, n := range a.model.Graph.Nodes {
		known := slices.ContainsFunc(n.Reads(), func(in string) bool { return learned[in] })
		for _, v := range n.Outputs {
			learned[v] = known
			out[v] = !known && !a.byData[v]
		}
	}
	return out
}
