package rewrite

import (
	"fmt"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
)

// lists replaces SplitToSequence whose parts are taken out one by one, at
// known places, by Split: axes cannot be followed through lists.
func lists(m *onnxgraph.Model, reg *op.Registry) (int, error) {
	facts, err := infer.Run(m, reg, infer.Options{})
	if err != nil {
		return 0, nil // as in fold
	}
	l := &lister{model: m, facts: facts, names: newFreshNames(m.Graph), readers: map[string][]*onnxgraph.Node{}}
	for _, n := range m.Graph.Nodes {
		for _, in := range n.Reads() {
			l.readers[in] = append(l.readers[in], n)
		}
	}
	outputs := outputNames(m.Graph)
	count := 0
	replaced := map[*onnxgraph.Node][]*onnxgraph.Node{}
	for _, n := range m.Graph.Nodes {
		if n.Domain != "" || n.OpType != "SplitToSequence" || outputs[n.Output(0)] {
			continue
		}
		if l.split(n, replaced) {
			count++
		}
	}
	var nodes []*onnxgraph.Node
	for _, n := range m.Graph.Nodes {
		if by, ok := replaced[n]; ok {
			nodes = append(nodes, by...)
		} else {
			nodes = append(nodes, n)
		}
	}
	m.Graph.Nodes = nodes
	return count, nil
}

type lister struct {
	model   *onnxgraph.Model
	facts   *infer.Result
	names   *freshNames
	readers map[string][]*onnxgraph.Node
}

// split plans the replacement of one SplitToSequence and its readers, false
// where sizes or places are not known.
func (l *lister) split(n *onnxgraph.Node, replaced map[*onnxgraph.Node][]*onnxgraph.Node) bool {
	axis, sizes, ok := l.sizes(n)
	if !ok {
		return false
	}
	parts := make([]string, len(sizes))
	places := map[*onnxgraph.Node]int64{}
	for _, r := range l.readers[n.Output(0)] {
		at, known := l.facts.Fact(r.Input(1)).Ints()
		if r.OpType != "SequenceAt" || r.Domain != "" || r.Input(0) != n.Output(0) || !known || len(at) != 1 {
			return false
		}
		i := at[0]
		if i < 0 {
			i += int64(len(sizes))
		}
		if i < 0 || i >= int64(len(sizes)) {
			return false
		}
		places[r] = i
	}
	for i := range parts {
		parts[i] = l.names.take(fmt.Sprintf("%s/part_%d", n.Label(), i))
	}
	node := &onnxgraph.Node{Name: n.Name, OpType: "Split", Inputs: []string{n.Input(0)}, Outputs: parts, Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", axis)}}
	if l.model.OpsetVersion("") >= 13 {
		t := onnxgraph.Vector(l.names.take(n.Label()+"/sizes"), sizes...)
		l.model.Graph.Initializers = append(l.model.Graph.Initializers, t)
		node.Inputs = append(node.Inputs, t.Name)
	} else {
		node.Attrs = append(node.Attrs, onnxgraph.IntsAttr("split", sizes...))
	}
	replaced[n] = []*onnxgraph.Node{node}
	drops := n.Input(1) == "" && n.Int("keepdims", 1) == 0
	for r, i := range places {
		replaced[r] = []*onnxgraph.Node{l.take(r, parts[i], axis, drops)}
	}
	return true
}

// take reads one part in place of a SequenceAt node.
func (l *lister) take(r *onnxgraph.Node, part string, axis int64, drops bool) *onnxgraph.Node {
	out := &onnxgraph.Node{Name: r.Name, OpType: "Identity", Inputs: []string{part}, Outputs: r.Outputs}
	if !drops {
		return out
	}
	out.OpType = "Squeeze"
	if l.model.OpsetVersion("") < 13 {
		out.Attrs = []*onnxgraph.Attribute{onnxgraph.IntsAttr("axes", axis)}
		return out
	}
	t := onnxgraph.Vector(l.names.take(r.Label()+"/axes"), axis)
	l.model.Graph.Initializers = append(l.model.Graph.Initializers, t)
	out.Inputs = append(out.Inputs, t.Name)
	return out
}

// sizes are the axis and the extents of the parts.
func (l *lister) sizes(n *onnxgraph.Node) (int64, []int64, bool) {
	s := l.facts.Fact(n.Input(0)).Shape()
	axis := n.Int("axis", 0)
	if axis < 0 {
		axis += int64(len(s))
	}
	if axis < 0 || axis >= int64(len(s)) {
		return 0, nil, false
	}
	part := int64(1)
	if name := n.Input(1); name != "" {
		f := l.facts.Fact(name)
		v, ok := f.Ints()
		if !ok {
			return 0, nil, false
		}
		if f.Rank() == 1 {
			return axis, v, len(v) > 0
		}
		part = v[0]
	}
	total := s[axis]
	if !total.IsKnown() || part < 1 || total.Value/part > maxParts {
		return 0, nil, false
	}
	var out []int64
	for rest := total.Value; rest > 0; rest -= part {
		out = append(out, min(part, rest))
	}
	return axis, out, len(out) > 0
}

// maxParts is the most outputs that a Split is given.
const maxParts = 1024
