package neuralgraph

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// ninoBuilder lays out the nodes and blocks of a NiNo graph.
type ninoBuilder struct {
	g      *Graph
	n      *NiNo
	layers map[string]*layerSet
	order  []*layerSet
}

// layerSet is a layer of the NiNo graph: one node for every combination of
// indices of its atoms, row-major in the order in which they were first met.
type layerSet struct {
	atoms   []*class
	strides []int64
	layer   Layer
	scale   bool              // only scale or shift parameters lead to it so far
	kinds   map[EdgeType]bool // of the parameters that lead to it (keys: from it)
}

// NiNo lays the given parameters (nil: all) out as the graph that the NiNo
// network reads. Every element of every parameter lies in exactly one block.
// Parameters that are opaque, or not float initializers of the model, get
// nodes of their own, connected to nothing else.
//
// The kernel positions of a convolution are the taps of an edge, and so are
// the positions of a flattened feature map in front of a linear layer: its
// edges lead from the channels, which are the neurons that the convolution
// before it made.
func (g *Graph) NiNo(params []string) (*NiNo, error) {
	b := &ninoBuilder{g: g, n: &NiNo{}, layers: map[string]*layerSet{}}
	shapes := map[string][]int64{}
	for _, t := range g.standard.Graph.Initializers {
		shapes[t.Name] = t.Dims
	}
	if params == nil {
		for _, p := range g.Parameters {
			params = append(params, p.Name)
			shapes[p.Name] = p.Shape
		}
	}
	seen := map[string]bool{}
	for _, name := range params {
		switch dims, ok := shapes[name]; {
		case seen[name]:
			return nil, fmt.Errorf("NiNo graph: parameter %q is listed twice", name)
		case !ok:
			return nil, fmt.Errorf("NiNo graph: the model has no parameter %q", name)
		case len(g.views[name]) == 0:
			b.isolated(name, dims)
		default:
			for i := range g.views[name] {
				b.piece(name, &g.views[name][i])
			}
		}
		seen[name] = true
	}
	b.copies()
	b.heads()
	b.residuals()
	return b.n, nil
}

// set returns the layer of the given atoms. An empty list has the layer that
// the fallback name stands for: a single node.
func (b *ninoBuilder) set(atoms []*class, name, fallback string, scale bool) *layerSet {
	mapped := make([]*class, len(atoms))
	ids := make([]int, len(atoms))
	for i, c := range atoms {
		mapped[i] = b.g.fine.node(c)
		ids[i] = mapped[i].id
	}
	sort.Ints(ids)
	key := strings.Trim(fmt.Sprint(ids), "[]")
	if len(atoms) == 0 {
		key = fallback
	}
	if s := b.layers[key]; s != nil {
		s.scale = s.scale && scale
		return s
	}
	s := &layerSet{atoms: mapped, strides: make([]int64, len(mapped)), scale: scale, kinds: map[EdgeType]bool{}}
	size := int64(1)
	for i := len(mapped) - 1; i >= 0; i-- {
		s.strides[i] = size
		size *= mapped[i].dim.Value
	}
	s.layer = Layer{Name: name, First: b.n.Nodes, Size: int(size)}
	b.n.Nodes += int(size)
	b.n.Layers = append(b.n.Layers, s.layer)
	b.layers[key] = s
	b.order = append(b.order, s)
	return s
}

// single adds a layer of its own.
func (b *ninoBuilder) single(name string, size int64) Span {
	l := Layer{Name: name, First: b.n.Nodes, Size: int(size)}
	b.n.Layers = append(b.n.Layers, l)
	b.n.Nodes += l.Size
	return Span{First: l.First, Count: l.Size}
}

// isolated gives a parameter nodes of its own: its first axis are targets, its
// second sources, the others taps.
func (b *ninoBuilder) isolated(name string, dims []int64) {
	d := append(slices.Clone(dims), 1, 1)
	taps := int64(1)
	for _, n := range d[2:] {
		taps *= n
	}
	b.n.Blocks = append(b.n.Blocks, Block{
		Parameter: name, Type: EdgeBias, Taps: int(taps),
		Source: b.single(name+":source", d[1]), Target: b.single(name, d[0]),
		SourceStride: taps, TargetStride: taps * d[1],
	})
}

// side is the atoms of one end of a piece's edges, and how the parameter moves
// along them.
type side struct {
	set     *layerSet
	leaves  []pieceLeaf
	strides []int64 // of the set, by leaf
}

func (b *ninoBuilder) side(own, shared []pieceLeaf, name, fallback string, scale bool) side {
	var all []*class
	for _, l := range append(slices.Clone(shared), own...) {
		if l.size > 1 || len(own)+len(shared) == 1 {
			all = append(all, l.c)
		}
	}
	s := side{set: b.set(all, name, fallback, scale)}
	for _, l := range own {
		s.leaves = append(s.leaves, l)
		s.strides = append(s.strides, s.set.stride(b.g.fine.node(l.c)))
	}
	return s
}

// sources are shared leaves as the source side has them.
func (b *ninoBuilder) sources(shared []pieceLeaf) []pieceLeaf {
	out := slices.Clone(shared)
	for i := range out {
		out[i].c = b.g.fine.read(out[i].c)
	}
	return out
}

func (s *layerSet) stride(c *class) int64 {
	for i, a := range s.atoms {
		if a == c {
			return s.strides[i]
		}
	}
	return 0 // an atom of extent 1 in a larger layer
}

// piece adds the blocks of one piece of a parameter.
func (b *ninoBuilder) piece(name string, p *piece) {
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias")
	shared := p.of(roleShared)
	if len(shared) == 1 && shared[0].size == 1 {
		shared = nil
	}
	own := p.of(roleTarget)
	linear := p.use.linear
	source := p.of(roleSource)
	var from, to side
	if linear || len(source) > 0 {
		from = b.side(source, b.sources(shared), base+":input", name+":source", false)
		to = b.side(own, shared, base, name+":target:"+p.use.node.Output(0), false)
	} else {
		to = b.side(own, shared, base, name+":target:"+p.use.node.Output(0), true)
		from = side{set: b.extra(name, p)}
	}
	to.set.kinds[p.kind] = true
	taps := tapOffsets(p.of(roleTaps))
	blk := Block{Parameter: name, Type: p.kind, Taps: max(len(taps), 1), TapOffsets: taps, Offset: p.offset}
	if contiguous(taps) {
		blk.TapOffsets = nil
	}
	b.emit(blk, from, to, shared, p.kind == EdgeKey)
}

// extra is the node that a bias or a norm weight comes from: one a parameter,
// or one for each of the queries, keys and values that a packed one serves.
func (b *ninoBuilder) extra(name string, p *piece) *layerSet {
	part := b.g.fine.projection(p)
	key := fmt.Sprintf("%s:node:%d", name, part)
	return b.set(nil, name, key, false)
}

func tapOffsets(list []pieceLeaf) []int64 {
	out := []int64{0}
	for _, l := range list {
		next := make([]int64, 0, int64(len(out))*l.size)
		for _, o := range out {
			for i := range l.size {
				next = append(next, o+i*l.stride)
			}
		}
		out = next
	}
	return out
}

func contiguous(offsets []int64) bool {
	for i, o := range offsets {
		if o != int64(i) {
			return false
		}
	}
	return true
}

// emit adds a block, repeated over the indices of shared atoms and of those
// along which a side does not move evenly.
func (b *ninoBuilder) emit(blk Block, from, to side, shared []pieceLeaf, reversed bool) {
	if product64(shared) > 1 && product64(from.leaves)*product64(to.leaves) < product64(shared) {
		b.diagonals(blk, from, to, shared, reversed)
		return
	}
	fromOuter, fromInner := uneven(from)
	toOuter, toInner := uneven(to)
	each(shared, func(index []int64, off int64) {
		fs, ts := from.set.at(b, b.sources(shared), index), to.set.at(b, shared, index)
		each(fromOuter.leaves, func(fi []int64, foff int64) {
			each(toOuter.leaves, func(ti []int64, toff int64) {
				q := blk
				q.Offset += off + foff + toff
				q.Source, q.SourceStride = fromInner.span(from.set.layer.First + int(fs+fromOuter.node(fi)))
				q.Target, q.TargetStride = toInner.span(to.set.layer.First + int(ts+toOuter.node(ti)))
				b.add(q, reversed)
			})
		})
	})
}

// diagonals adds one block of pairs for each combination of the other atoms.
func (b *ninoBuilder) diagonals(blk Block, from, to side, shared []pieceLeaf, reversed bool) {
	s := side{set: from.set, leaves: shared}
	t := side{set: to.set, leaves: shared}
	for _, l := range shared {
		s.strides = append(s.strides, from.set.stride(b.g.fine.node(b.g.fine.read(l.c))))
		t.strides = append(t.strides, to.set.stride(b.g.fine.node(l.c)))
	}
	outer, inner := uneven(s)
	tOuter, tInner := uneven(t)
	each(outer.leaves, func(oi []int64, ooff int64) {
		each(from.leaves, func(fi []int64, foff int64) {
			each(to.leaves, func(ti []int64, toff int64) {
				q := blk
				q.Diagonal = true
				q.Offset += ooff + foff + toff
				q.Source, q.SourceStride = inner.span(from.set.layer.First + int(outer.node(oi)+from.node(fi)))
				q.Target, _ = tInner.span(to.set.layer.First + int(tOuter.node(oi)+to.node(ti)))
				b.add(q, reversed)
			})
		})
	})
}

func (b *ninoBuilder) add(q Block, reversed bool) {
	if reversed {
		q.Source, q.Target = q.Target, q.Source
		if !q.Diagonal {
			q.SourceStride, q.TargetStride = q.TargetStride, q.SourceStride
		}
	}
	b.n.Blocks = append(b.n.Blocks, q)
}

// each visits every combination of indices of leaves, with the offset in the
// parameter.
func each(list []pieceLeaf, visit func(index []int64, offset int64)) {
	index := make([]int64, len(list))
	for {
		off := int64(0)
		for i, l := range list {
			off += index[i] * l.stride
		}
		visit(index, off)
		i := len(list) - 1
		for ; i >= 0; i-- {
			if index[i]++; index[i] < list[i].size {
				break
			}
			index[i] = 0
		}
		if i < 0 {
			return
		}
	}
}

// at is the node offset of an index of shared atoms.
func (s *layerSet) at(b *ninoBuilder, shared []pieceLeaf, index []int64) int64 {
	n := int64(0)
	for i, l := range shared {
		n += index[i] * s.stride(b.g.fine.node(l.c))
	}
	return n
}

func (s side) node(index []int64) int64 {
	n := int64(0)
	for i, k := range index {
		n += k * s.strides[i]
	}
	return n
}

// uneven splits a side into the leaves that must be enumerated and the longest
// run of last leaves along which the parameter moves by one stride.
func uneven(s side) (outer, inner side) {
	k := len(s.leaves)
	for k > 0 && (k == len(s.leaves) || s.leaves[k-1].stride == s.leaves[k].stride*s.leaves[k].size) {
		k--
	}
	if len(s.leaves) == 0 {
		return s, s
	}
	outer = side{s.set, s.leaves[:k], s.strides[:k]}
	inner = side{s.set, s.leaves[k:], s.strides[k:]}
	return outer, inner
}

// span is the nodes of a side in the parameter's order, and its stride.
func (s side) span(first int) (Span, int64) {
	n := int(product64(s.leaves))
	if len(s.leaves) == 0 {
		return Span{First: first, Count: 1}, 0
	}
	stride := s.leaves[len(s.leaves)-1].stride
	index := make([]int32, 0, n)
	consecutive := true
	each(s.leaves, func(i []int64, _ int64) {
		node := int32(first) + int32(s.node(i))
		consecutive = consecutive && int(node) == first+len(index)
		index = append(index, node)
	})
	if consecutive {
		return Span{First: first, Count: n}, stride
	}
	return Span{Count: n, Index: index}, stride
}
