package nino

import (
	"errors"
	"fmt"
	"slices"

	"ninox/neuralgraph"
)

// piece is a block of edges of at most the network's number of taps. A kernel
// with more taps than that is several pieces: parallel edges between the same
// nodes, each with the next taps in row-major order, the last one filled up
// with zeros.
type piece struct {
	parameter          int // index into plan.parameters, -1 for auxiliary edges
	kind               neuralgraph.EdgeType
	source, target     neuralgraph.Span
	diagonal           bool
	offset             int64   // of the element of the first edge's first tap,
	bySource, byTarget int64   // and the steps to the next source and the next target
	taps               []int64 // of each tap, from the edge's first element
	constant           float32 // feature of auxiliary edges, at tap 0 of every state
}

// Features of auxiliary edges, in place of a parameter.
const (
	featureAuxiliary = 1
	featureSelfLoop  = 2
)

// plan is a graph prepared for the network: pieces, self-loops among them, and
// the parameters that they carry.
type plan struct {
	nodes      int
	parameters []string
	pieces     []piece
	widest     int   // most taps of a piece
	edges      int   // of all pieces
	covered    []int // elements of each parameter that lie on edges
	extent     []int64
}

// newPlan splits the blocks of a graph, with edges of so many types, into
// pieces of at most taps taps.
func newPlan(g *neuralgraph.NiNo, taps, types int) (*plan, error) {
	p := &plan{nodes: g.Nodes, widest: 1}
	if g.Nodes < 1 {
		return nil, errors.New("neural graph without nodes")
	}
	if types <= int(neuralgraph.EdgeSelfLoop) {
		return nil, fmt.Errorf("the network knows %d types of edges, self-loops are of type %d", types, neuralgraph.EdgeSelfLoop)
	}
	number := map[string]int{}
	for i := range g.Blocks {
		b := &g.Blocks[i]
		if err := checkBlock(b, g.Nodes, types); err != nil {
			return nil, fmt.Errorf("neural graph block %d (parameter %q): %w", i, b.Parameter, err)
		}
		base := piece{parameter: -1, kind: b.Type, source: b.Source, target: b.Target, diagonal: b.Diagonal, constant: featureAuxiliary}
		if b.Taps == 0 {
			p.add(base)
			continue
		}
		n, ok := number[b.Parameter]
		if !ok {
			n = len(p.parameters)
			number[b.Parameter] = n
			p.parameters = append(p.parameters, b.Parameter)
			p.covered, p.extent = append(p.covered, 0), append(p.extent, 0)
		}
		base.parameter, base.offset, base.bySource, base.byTarget = n, b.Offset, b.SourceStride, b.TargetStride
		offsets := b.TapOffsets
		if offsets == nil {
			offsets = make([]int64, b.Taps)
			for t := range offsets {
				offsets[t] = int64(t)
			}
		}
		p.covered[n] += b.Edges() * b.Taps
		p.extent[n] = max(p.extent[n], base.lastElement(offsets)+1)
		for part := range slices.Chunk(offsets, taps) {
			base.taps = part
			p.add(base)
		}
	}
	all := neuralgraph.Span{Count: g.Nodes}
	p.add(piece{parameter: -1, kind: neuralgraph.EdgeSelfLoop, source: all, target: all, diagonal: true, constant: featureSelfLoop})
	return p, nil
}

func (p *plan) add(x piece) {
	p.pieces = append(p.pieces, x)
	p.widest = max(p.widest, len(x.taps))
	p.edges += x.edges()
}

// checkBlock makes sure that later arithmetic stays in range.
func checkBlock(b *neuralgraph.Block, nodes, types int) error {
	for _, s := range []neuralgraph.Span{b.Source, b.Target} {
		if s.Count < 1 || s.Index != nil && len(s.Index) != s.Count {
			return fmt.Errorf("%d nodes at one end, an index of %d", s.Count, len(s.Index))
		}
		for i := range s.Count {
			if n := s.Node(i); n < 0 || n >= nodes {
				return fmt.Errorf("node %d of %d", n, nodes)
			}
		}
	}
	switch {
	case b.Type < 0 || int(b.Type) >= types:
		return fmt.Errorf("edge type %d, the network knows %d", b.Type, types)
	case b.Diagonal && b.Source.Count != b.Target.Count:
		return fmt.Errorf("diagonal of %d sources and %d targets", b.Source.Count, b.Target.Count)
	case b.Taps < 0 || b.TapOffsets != nil && len(b.TapOffsets) != b.Taps:
		return fmt.Errorf("%d taps with %d offsets", b.Taps, len(b.TapOffsets))
	case b.Offset < 0 || b.SourceStride < 0 || b.TargetStride < 0 || slices.ContainsFunc(b.TapOffsets, func(t int64) bool { return t < 0 }):
		return fmt.Errorf("negative offset or stride")
	case (b.Taps == 0) != (b.Parameter == ""):
		return fmt.Errorf("%d taps", b.Taps)
	}
	return nil
}

// auxiliary is the number of edges that carry no parameter.
func (p *plan) auxiliary() int {
	n := 0
	for i := range p.pieces {
		if p.pieces[i].parameter < 0 {
			n += p.pieces[i].edges()
		}
	}
	return n
}

func (x *piece) edges() int {
	if x.diagonal {
		return x.source.Count
	}
	return x.source.Count * x.target.Count
}

// element is where the taps of the edge from source i to target j start.
func (x *piece) element(i, j int) int64 {
	return x.offset + int64(i)*x.bySource + int64(j)*x.byTarget
}

func (x *piece) lastElement(taps []int64) int64 {
	return x.element(x.source.Count-1, x.target.Count-1) + slices.Max(taps)
}

// check compares the plan with the number of elements of each parameter.
func (p *plan) check(parameter, elements int) error {
	if p.covered[parameter] != elements || p.extent[parameter] > int64(elements) {
		return fmt.Errorf("the neural graph places %d elements up to number %d, the parameter has %d",
			p.covered[parameter], p.extent[parameter], elements)
	}
	return nil
}

// tokens are the vocabulary index + 1 of the nodes that are words, 0 of others.
func (p *plan) tokens(rows int) ([]int64, error) {
	out := make([]int64, p.nodes)
	for i := range p.pieces {
		x := &p.pieces[i]
		if x.kind != neuralgraph.EdgeEmbedding {
			continue
		}
		if x.source.Count >= rows {
			return nil, fmt.Errorf("parameter %q embeds %d words, the weights know positions of %d", p.parameters[x.parameter], x.source.Count, rows-1)
		}
		for w := range x.source.Count {
			out[x.source.Node(w)] = int64(w + 1)
		}
	}
	return out, nil
}

// lists are the ends [2, edges] and the types of all edges.
func (p *plan) lists() (index, types []int64) {
	all := allEdges(p)
	return all.index, all.types
}

// each visits every edge of the plan in order: number e, from source i to
// target j of the piece.
func (p *plan) each(visit func(e int, x *piece, i, j int)) {
	e := 0
	for n := range p.pieces {
		x := &p.pieces[n]
		for i := range x.source.Count {
			if x.diagonal {
				visit(e, x, i, i)
				e++
				continue
			}
			for j := range x.target.Count {
				visit(e, x, i, j)
				e++
			}
		}
	}
}
