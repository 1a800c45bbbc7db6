package neuralgraph

import "ninox/onnxgraph"

// saturating are the operators behind which differences disappear: outputs
// made by them may be equal although what goes in is not.
var saturating = map[string]bool{
	"Softmax": true, "LogSoftmax": true, "Sigmoid": true, "HardSigmoid": true, "Tanh": true, "Clip": true, "ArgMax": true, "ArgMin": true,
	"TopK": true, "Where": true, "Greater": true, "Less": true, "GreaterOrEqual": true, "LessOrEqual": true, "Round": true, "Sign": true,
}

// Probes lists values of Model, besides its outputs, that no permutation of
// groups changes, and that outputs depend on through operators that saturate:
// float inputs of those operators with no axis of a permutable group.
func (g *Graph) Probes() []string {
	var out []string
	seen := map[string]bool{}
	for _, v := range g.standard.Graph.Outputs {
		seen[v.Name] = true
	}
	for _, n := range g.standard.Graph.Nodes {
		if !saturating[n.OpType] {
			continue
		}
		for _, in := range n.Inputs {
			if !seen[in] && g.analysis.byData[in] && g.invariant(in) {
				out = append(out, in)
			}
			seen[in] = true
		}
	}
	return out
}

func (g *Graph) invariant(value string) bool {
	f := g.analysis.facts.Fact(value)
	if f == nil || f.DType() != onnxgraph.Float || f.Rank() != len(g.analysis.env.lookup(value)) || g.analysis.producer[value] == nil {
		return false
	}
	for _, c := range g.analysis.env.lookup(value) {
		for _, l := range leaves(c) {
			if l.fixed == "" && !isOne(l.dim) {
				return false
			}
		}
	}
	return true
}

// Uniform lists values of Model that ConstantOfShape writes out as weights:
// constants of known shape whose axes groups lie on. A certificate draws values
// for them, since equal ones show nothing.
func (g *Graph) Uniform() []*onnxgraph.Value {
	var out []*onnxgraph.Value
	for _, n := range g.standard.Graph.Nodes {
		if n.OpType != "ConstantOfShape" || n.Domain != "" || !g.analysis.constant[n.Output(0)] {
			continue
		}
		f := g.analysis.facts.Fact(n.Output(0))
		if _, ok := f.Shape().Static(); ok && f.DType() == onnxgraph.Float {
			out = append(out, &onnxgraph.Value{Name: n.Output(0), Type: f.Type})
		}
	}
	return out
}
