package onnxgraph

import "slices"

// Clone copies the model so that graphs, nodes, values and lists of the copy
// can be edited freely. Tensors and raw fields are shared: to change a tensor,
// put a new one in its place.
func (m *Model) Clone() *Model {
	c := *m
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	c.Graph = m.Graph.Clone()
	c.Functions = make([]*Function, len(m.Functions))
	for i, f := range m.Functions {
		fc := *f
		fc.Nodes = cloneNodes(f.Nodes)
		fc.Inputs, fc.Outputs = slices.Clone(f.Inputs), slices.Clone(f.Outputs)
		fc.Attrs, fc.Defaults = slices.Clone(f.Attrs), slices.Clone(f.Defaults)
		fc.Opsets = slices.Clone(f.Opsets)
		c.Functions[i] = &fc
	}
	return &c
}

// Clone copies the graph as Model.Clone does; nil stays nil.
func (g *Graph) Clone() *Graph {
	if g == nil {
		return nil
	}
	c := *g
	c.Nodes = cloneNodes(g.Nodes)
	c.Inputs = cloneValues(g.Inputs)
	c.Outputs = cloneValues(g.Outputs)
	c.ValueInfo = cloneValues(g.ValueInfo)
	c.Initializers = slices.Clone(g.Initializers)
	c.Sparse = slices.Clone(g.Sparse)
	c.Metadata = slices.Clone(g.Metadata)
	return &c
}

// Clone copies the node and its subgraphs as Model.Clone does.
func (n *Node) Clone() *Node {
	c := *n
	c.Inputs = slices.Clone(n.Inputs)
	c.Outputs = slices.Clone(n.Outputs)
	c.Metadata = slices.Clone(n.Metadata)
	c.Attrs = make([]*Attribute, len(n.Attrs))
	for i, a := range n.Attrs {
		ac := *a
		ac.G = a.G.Clone()
		ac.Graphs = slices.Clone(a.Graphs)
		for j, g := range a.Graphs {
			ac.Graphs[j] = g.Clone()
		}
		c.Attrs[i] = &ac
	}
	return &c
}

func cloneNodes(in []*Node) []*Node {
	out := make([]*Node, len(in))
	for i, n := range in {
		out[i] = n.Clone()
	}
	return out
}

func cloneValues(in []*Value) []*Value {
	out := make([]*Value, len(in))
	for i, v := range in {
		c := *v
		out[i] = &c
	}
	return out
}
