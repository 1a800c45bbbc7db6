package rewrite

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// aliases drops Identity nodes of initializers and lets their readers read the
// initializer, chains of them too. One whose result is an output of its graph
// stays.
func aliases(m *onnxgraph.Model, _ *op.Registry) (int, error) {
	params := map[string]bool{}
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		for _, t := range g.Initializers {
			params[t.Name] = true
		}
	})
	count := 0
	m.Graph.EachGraph(func(g *onnxgraph.Graph) {
		outputs := outputNames(g)
		alias := map[string]string{}
		var nodes []*onnxgraph.Node
		for _, n := range g.Nodes {
			in := n.Input(0)
			if of, ok := alias[in]; ok {
				in = of
			}
			if n.Domain != "" || n.OpType != "Identity" || !params[in] || outputs[n.Output(0)] {
				nodes = append(nodes, n)
				continue
			}
			alias[n.Output(0)] = in
			count++
		}
		g.Nodes = nodes
		renameReads(g, alias)
	})
	return count, nil
}
