package rewrite

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// constants turns Constant nodes into initializers of the outermost graph,
// which all subgraphs see. A constant that is itself an output of its graph
// stays a node: outputs must be produced where they are declared. String and
// sparse constants become initializers too where the format allows it.
func constants(m *onnxgraph.Model, _ *op.Registry) (int, error) {
	l := &lifter{outer: m.Graph, names: newFreshNames(m.Graph), defined: map[string]int{}}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			for _, out := range n.Outputs {
				l.defined[out]++
			}
		}
	})
	l.graph(m.Graph)
	return l.count, nil
}

type lifter struct {
	outer   *onnxgraph.Graph
	names   *freshNames
	defined map[string]int // value name → how many graphs define it: branches may reuse names
	count   int
}

func (l *lifter) graph(g *onnxgraph.Graph) {
	outputs := outputNames(g)
	renamed := map[string]string{}
	var nodes []*onnxgraph.Node
	for _, n := range g.Nodes {
		t := constantTensor(n)
		if t == nil || outputs[n.Output(0)] {
			nodes = append(nodes, n)
			continue
		}
		c := *t
		c.Name = n.Output(0)
		if l.defined[c.Name] > 1 {
			c.Name = l.names.take(c.Name)
			renamed[n.Output(0)] = c.Name
		}
		l.outer.Initializers = append(l.outer.Initializers, &c)
		l.count++
	}
	g.Nodes = nodes
	renameReads(g, renamed)
	g.ValueInfo = slices.DeleteFunc(g.ValueInfo, func(v *onnxgraph.Value) bool { return renamed[v.Name] != "" })
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			l.graph(sub)
		}
	}
}

// constantTensor is the value of a Constant node, nil for other nodes and for
// sparse values.
func constantTensor(n *onnxgraph.Node) *onnxgraph.Tensor {
	if n.Domain != "" || n.OpType != "Constant" || len(n.Attrs) != 1 || n.Output(0) == "" {
		return nil
	}
	return op.ConstantValue(n)
}
