package graphtest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// NodeOrder is the order of the nodes of a NiNo graph that permuting groups in
// the parameters means: the node at place i of the permuted model's graph is the
// node out[i] of the original's. It follows from the parameters alone: the edge
// that carries an element has to lead from and to the nodes that it led from
// and to before the element moved. An error says that no order does that, or that
// auxiliary edges do not follow: then the graph lacks the model's symmetry.
func NodeOrder(g *neuralgraph.Graph, n *neuralgraph.NiNo, p neuralgraph.Permutations) ([]int, error) {
	o := &ordering{order: make([]int, n.Nodes), taken: map[int]int{}}
	for i := range o.order {
		o.order[i] = -1
	}
	if err := o.parameters(g, n, p); err != nil {
		return nil, err
	}
	return o.order, o.auxiliary(n)
}

type ordering struct {
	order []int
	taken map[int]int // by node of the original
}

func (o *ordering) set(node, original int) error {
	if was := o.order[node]; was >= 0 && was != original {
		return fmt.Errorf("node %d would be both %d and %d of the original", node, was, original)
	}
	if by, ok := o.taken[original]; ok && by != node {
		return fmt.Errorf("nodes %d and %d would both be %d of the original", by, node, original)
	}
	o.order[node], o.taken[original] = original, node
	return nil
}

func (o *ordering) parameters(g *neuralgraph.Graph, n *neuralgraph.NiNo, p neuralgraph.Permutations) error {
	type place struct {
		parameter string
		element   int64
	}
	ends := map[place][2]int{}
	for i := range n.Blocks {
		for e := range n.Blocks[i].All() {
			if len(e.Elements) > 0 {
				ends[place{n.Blocks[i].Parameter, e.Elements[0]}] = [2]int{e.Source, e.Target}
			}
		}
	}
	moved := map[string][]int64{}
	for _, w := range g.Parameters {
		m, err := movedElements(g, w, p)
		if err != nil {
			return err
		}
		moved[w.Name] = m
	}
	for at, now := range ends {
		before, ok := ends[place{at.parameter, moved[at.parameter][at.element]}]
		if !ok {
			return fmt.Errorf("%s: element %d comes from the middle of an edge", at.parameter, at.element)
		}
		for side := range 2 {
			if err := o.set(now[side], before[side]); err != nil {
				return fmt.Errorf("%s: element %d: %w", at.parameter, at.element, err)
			}
		}
	}
	return nil
}

// movedElements says where each element of the permuted parameter comes from.
func movedElements(g *neuralgraph.Graph, w neuralgraph.Parameter, p neuralgraph.Permutations) ([]int64, error) {
	t := &onnxgraph.Tensor{Name: w.Name, DType: onnxgraph.Int64, Dims: w.Shape}
	for i := range w.Elements() {
		t.Data = binary.LittleEndian.AppendUint64(t.Data, uint64(i))
	}
	t, err := g.Permute(t, p)
	if err != nil {
		return nil, err
	}
	return t.AsInts()
}

// auxiliary orders the nodes that no parameter reaches (heads) by what
// auxiliary edges join them to, and requires all auxiliary edges to follow.
func (o *ordering) auxiliary(n *neuralgraph.NiNo) error {
	type edge struct {
		kind           neuralgraph.EdgeType
		source, target int
	}
	edges := map[edge]int{}
	reach := map[int][]int{}
	for i := range n.Blocks {
		if n.Blocks[i].Parameter != "" {
			continue
		}
		for e := range n.Blocks[i].All() {
			edges[edge{n.Blocks[i].Type, e.Source, e.Target}]++
			reach[e.Source] = append(reach[e.Source], e.Target)
		}
	}
	free := map[string]int{} // nodes that no parameter reaches, by what they are joined to
	for u, known := range o.order {
		if known < 0 {
			slices.Sort(reach[u])
			free[fmt.Sprint(reach[u])] = u
		}
	}
	for u, known := range o.order {
		if known >= 0 {
			continue
		}
		var before []int
		for _, v := range reach[u] {
			before = append(before, o.order[v])
		}
		slices.Sort(before)
		original, ok := free[fmt.Sprint(before)]
		if !ok {
			return fmt.Errorf("node %d, which no parameter reaches, is joined to nodes that none was joined to before", u)
		}
		if err := o.set(u, original); err != nil {
			return err
		}
	}
	for e, count := range edges {
		if edges[edge{e.kind, o.order[e.source], o.order[e.target]}] != count {
			return fmt.Errorf("the edge of type %d from %d to %d has no counterpart", e.kind, e.source, e.target)
		}
	}
	return nil
}
