package onnxgraph

import (
	"maps"
	"slices"
)

// Subgraphs lists the graphs that the node holds as attributes.
func (n *Node) Subgraphs() []*Graph {
	var out []*Graph
	for _, a := range n.Attrs {
		if a.G != nil {
			out = append(out, a.G)
		}
		out = append(out, a.Graphs...)
	}
	return out
}

// Captured lists, sorted, the values of enclosing graphs that the node's
// subgraphs use.
func (n *Node) Captured() []string {
	subs := n.Subgraphs()
	if len(subs) == 0 {
		return nil
	}
	free := map[string]bool{}
	for _, g := range subs {
		g.free(free)
	}
	return slices.Sorted(maps.Keys(free))
}

// Reads lists every value that the node needs: its inputs, absent ones left
// out, and what its subgraphs capture.
func (n *Node) Reads() []string {
	var out []string
	for _, in := range n.Inputs {
		if in != "" {
			out = append(out, in)
		}
	}
	return append(out, n.Captured()...)
}

// free adds the names that a subgraph uses but does not define.
func (g *Graph) free(outer map[string]bool) {
	local := g.defined()
	for _, n := range g.Nodes {
		for _, in := range n.Reads() {
			if !local[in] {
				outer[in] = true
			}
		}
		for _, out := range n.Outputs {
			local[out] = true
		}
	}
	for _, v := range g.Outputs {
		if v.Name != "" && !local[v.Name] {
			outer[v.Name] = true
		}
	}
}

// defined is the set of values that exist before any node of the graph runs.
func (g *Graph) defined() map[string]bool {
	out := map[string]bool{}
	for _, v := range g.Inputs {
		out[v.Name] = true
	}
	for _, t := range g.Initializers {
		out[t.Name] = true
	}
	for _, s := range g.Sparse {
		out[s.Values.Name] = true
	}
	return out
}

// EachGraph calls visit for the graph itself and every subgraph below it,
// outer graphs first.
func (g *Graph) EachGraph(visit func(*Graph)) {
	visit(g)
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			sub.EachGraph(visit)
		}
	}
}

// Names is the set of all value and node names of the graph and its subgraphs.
func (g *Graph) Names() map[string]bool {
	used := map[string]bool{}
	g.EachGraph(func(g *Graph) {
		for name := range g.defined() {
			used[name] = true
		}
		for _, n := range g.Nodes {
			used[n.Name] = true
			for _, out := range n.Outputs {
				used[out] = true
			}
		}
	})
	delete(used, "")
	return used
}
