package neuralgraph

import "slices"

// Naive is the graph without what the paper adds for attention (its section 3.2
// and appendix A.4): no nodes for heads; queries, keys and values are the same
// neurons, which the three projections lead to; and all three are linear edges in
// the direction of the data. The numbers that the paper stacks on one edge lie on
// parallel edges. Values stay neurons of their own where queries and values differ
// in number, as with grouped queries. Without attention the graph is the same.
func (n *NiNo) Naive() *NiNo {
	m := naive{from: n, to: make([]int32, n.Nodes)}
	m.merge()
	out := &NiNo{Nodes: m.number()}
	for _, l := range n.Layers {
		if first := m.to[l.First]; m.own(l.First) {
			out.Layers = append(out.Layers, Layer{l.Name, int(first), l.Size})
		}
	}
	for _, b := range n.Blocks {
		switch b.Type {
		case EdgeHead:
			continue
		case EdgeKey:
			b.Source, b.Target = b.Target, b.Source
			if !b.Diagonal {
				b.SourceStride, b.TargetStride = b.TargetStride, b.SourceStride
			}
			b.Type = EdgeLinear
		case EdgeQuery, EdgeValue:
			b.Type = EdgeLinear
		}
		b.Source, b.Target = m.span(b.Source), m.span(b.Target)
		out.Blocks = append(out.Blocks, b)
	}
	return out
}

// naive maps the nodes of a graph to those of the naive one.
type naive struct {
	from *NiNo
	to   []int32 // by node: before number, the node that it becomes (itself, the one it merges with, or gone); then its new number
	kept []bool
}

// gone marks nodes of heads.
const gone = -1

// merge makes values the queries of their head.
func (m *naive) merge() {
	for i := range m.to {
		m.to[i] = int32(i)
	}
	reads := map[int][]Span{} // of each head: queries, then values
	heads := map[int]int{}    // by node: heads that read it
	for _, b := range m.from.Blocks {
		if b.Type != EdgeHead {
			continue
		}
		for i := range b.Source.Count {
			reads[b.Source.Node(i)] = append(reads[b.Source.Node(i)], b.Target)
		}
		for i := range b.Target.Count {
			heads[b.Target.Node(i)] += b.Source.Count
		}
	}
	for head, r := range reads {
		m.to[head] = gone
		if len(r) != 2 || r[0].Count != r[1].Count || heads[r[1].Node(0)] != 1 {
			continue
		}
		for i := range r[1].Count {
			m.to[r[1].Node(i)] = int32(r[0].Node(i))
		}
	}
}

// number gives the nodes that remain consecutive numbers, and counts them.
func (m *naive) number() int {
	n := int32(0)
	m.kept = make([]bool, len(m.to))
	renamed := make([]int32, len(m.to))
	for i, to := range m.to {
		if m.kept[i] = int(to) == i; m.kept[i] {
			renamed[i] = n
			n++
		}
	}
	for i, to := range m.to {
		if to != gone {
			m.to[i] = renamed[to]
		}
	}
	return int(n)
}

// own says whether a node of the graph has not merged with another.
func (m *naive) own(node int) bool { return m.kept[node] }

// span is a span in the new numbers.
func (m *naive) span(s Span) Span {
	index := make([]int32, s.Count)
	consecutive := true
	for i := range index {
		index[i] = m.to[s.Node(i)]
		consecutive = consecutive && index[i] == index[0]+int32(i)
	}
	if consecutive {
		return Span{First: int(index[0]), Count: s.Count}
	}
	return Span{Count: s.Count, Index: slices.Clip(index)}
}
