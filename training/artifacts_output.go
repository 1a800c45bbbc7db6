package training

import (
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
)

// exposeOutput finds the model output that the loss judges and makes it an
// output of the eval model, which upstream gives none besides the loss unless
// asked to. Where it is not found, the model stays as it is.
func (a *Artifacts) exposeOutput() error {
	g := a.Eval.Graph
	facts, err := infer.Run(a.Eval, ops.Registry(), infer.Options{})
	if err != nil {
		return err
	}
	name := judged(g, a.Labels, a.LossName)
	f := facts.Fact(name)
	if f.Rank() < 0 || f.DType() != onnxgraph.Float {
		return nil
	}
	a.Output = name
	if !slices.ContainsFunc(g.Outputs, func(v *onnxgraph.Value) bool { return v.Name == name }) {
		g.Outputs = append(g.Outputs, &onnxgraph.Value{Name: name, Type: f.Type})
	}
	return nil
}

// judged is the last value of the model that does not depend on the labels and
// on which everything that meets the labels depends; "" where there is none.
func judged(g *onnxgraph.Graph, labels, loss string) string {
	met := meetsLabels(g, labels, loss)
	for i, n := range slices.Backward(g.Nodes) {
		for _, out := range n.Outputs {
			if out == "" || isLossName(out) || !allDepend(g.Nodes[i:], out, met) {
				continue
			}
			return out
		}
	}
	return ""
}

// isLossName tells the values that upstream's loss blocks compute, such as
// "onnx::sigmoid_output::20", from those of the model.
func isLossName(value string) bool { return strings.Count(value, "::") > 1 }

// meetsLabels is the set of computed values that do not depend on the labels
// but are combined with what does, on the way to the loss.
func meetsLabels(g *onnxgraph.Graph, labels, loss string) map[string]bool {
	labelled := map[string]bool{labels: true}
	computed := map[string]bool{}
	for _, n := range g.Nodes {
		depends := slices.ContainsFunc(n.Reads(), func(in string) bool { return labelled[in] })
		for _, out := range n.Outputs {
			labelled[out], computed[out] = depends, true
		}
	}
	needed := map[string]bool{loss: true}
	met := map[string]bool{}
	for _, n := range slices.Backward(g.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return needed[out] && labelled[out] }) {
			continue
		}
		for _, in := range n.Reads() {
			needed[in] = true
			if computed[in] && !labelled[in] {
				met[in] = true
			}
		}
	}
	return met
}

// allDepend says whether every value of a set is the given one or depends on
// it; nodes are those from its producer on.
func allDepend(nodes []*onnxgraph.Node, value string, set map[string]bool) bool {
	after := map[string]bool{value: true}
	for _, n := range nodes {
		if slices.ContainsFunc(n.Reads(), func(in string) bool { return after[in] }) {
			for _, out := range n.Outputs {
				after[out] = true
			}
		}
	}
	for v := range set {
		if !after[v] {
			return false
		}
	}
	return len(set) > 0
}
