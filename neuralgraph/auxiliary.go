package neuralgraph

import "fmt"

// The auxiliary connections of a NiNo graph: heads, residuals, and copies of
// neurons that are read several times.

// find returns the layer of the given atoms, nil where it does not exist.
func (b *ninoBuilder) lookup(atoms []*class) *layerSet {
	mapped := map[*class]bool{}
	for _, c := range atoms {
		mapped[b.g.fine.node(c)] = true
	}
	for _, s := range b.order {
		if len(s.atoms) == len(mapped) && subset(s.atoms, mapped) {
			return s
		}
	}
	return nil
}

func subset(list []*class, of map[*class]bool) bool {
	for _, c := range list {
		if !of[c] {
			return false
		}
	}
	return len(list) > 0
}

// within says whether the layer's atoms are some but not all of another's.
func (s *layerSet) within(t *layerSet) bool {
	in := map[*class]bool{}
	for _, c := range t.atoms {
		in[c] = true
	}
	return len(s.atoms) < len(t.atoms) && subset(s.atoms, in)
}

// spread adds edges from every node of a layer to the nodes of a larger one
// that have the same indices: one block of pairs for each combination of the
// others.
func (b *ninoBuilder) spread(s, t *layerSet, kind EdgeType, reversed bool) {
	var common, rest side
	common.set, rest.set = t, t
	var sStrides []int64
	for i, c := range t.atoms {
		l := pieceLeaf{leaf: leaf{c, c.dim.Value, 0}}
		if k := s.stride(c); hasClass(s.atoms, c) {
			common.leaves, common.strides = append(common.leaves, l), append(common.strides, t.strides[i])
			sStrides = append(sStrides, k)
			continue
		}
		rest.leaves, rest.strides = append(rest.leaves, l), append(rest.strides, t.strides[i])
	}
	small := side{s, common.leaves, sStrides}
	each(rest.leaves, func(index []int64, _ int64) {
		q := Block{Type: kind, Diagonal: true}
		q.Source, _ = small.span(s.layer.First)
		q.Target, _ = common.span(t.layer.First + int(rest.node(index)))
		b.add(q, reversed)
	})
}

// star adds dense edges from every node of s to the nodes of t that share its
// indices.
func (b *ninoBuilder) star(s, t *layerSet, kind EdgeType) {
	var own, common side
	common.set, own.set = t, t
	var sStrides []int64
	for i, c := range t.atoms {
		l := pieceLeaf{leaf: leaf{c, c.dim.Value, 0}}
		if hasClass(s.atoms, c) {
			common.leaves, common.strides = append(common.leaves, l), append(common.strides, t.strides[i])
			sStrides = append(sStrides, s.stride(c))
			continue
		}
		own.leaves, own.strides = append(own.leaves, l), append(own.strides, t.strides[i])
	}
	// Atoms of s that t lacks (query heads that share a key head) all connect.
	var extra side
	extra.set = s
	for i, c := range s.atoms {
		if !hasClass(t.atoms, c) {
			extra.leaves = append(extra.leaves, pieceLeaf{leaf: leaf{c, c.dim.Value, 0}})
			extra.strides = append(extra.strides, s.strides[i])
		}
	}
	head := side{s, common.leaves, sStrides}
	each(common.leaves, func(ci []int64, _ int64) {
		each(extra.leaves, func(ei []int64, _ int64) {
			q := Block{Type: kind}
			q.Source = Span{First: s.layer.First + int(head.node(ci)+extra.node(ei)), Count: 1}
			q.Target, _ = own.span(t.layer.First + int(common.node(ci)))
			b.n.Blocks = append(b.n.Blocks, q)
		})
	})
}

// heads adds a node for each attention head, with an edge to each of the
// head's queries and values, and joins keys and values that several heads read
// to their copies.
func (b *ninoBuilder) heads() {
	f := b.g.fine
	for i := range f.layers {
		a := &f.layers[i]
		queries := b.lookup(append(append([]*class{}, a.heads...), a.queries...))
		context := b.lookup(a.context)
		var keys, values *layerSet
		for _, s := range b.order {
			if s.kinds[EdgeValue] && b.holds(s, a.values) && (context == nil || s == context || s.within(context)) {
				values = s
			}
			if queries != nil && s.kinds[EdgeKey] && b.holds(s, a.keys) && s.within(queries) {
				keys = s
			}
		}
		if keys != nil {
			b.spread(keys, queries, EdgeResidual, true)
		}
		if values != nil && context != nil && values != context {
			b.spread(values, context, EdgeResidual, false)
		}
		if queries == nil && values == nil {
			continue
		}
		head := b.set(a.heads, a.Name+":heads", fmt.Sprintf("%s:head", a.Name), false)
		for _, s := range []*layerSet{queries, values} {
			if s != nil && s != head {
				b.star(head, s, EdgeHead)
			}
		}
	}
}

// holds says whether the layer has an atom of the list.
func (b *ninoBuilder) holds(s *layerSet, list []*class) bool {
	for _, c := range list {
		if hasClass(s.atoms, b.g.fine.node(c)) {
			return true
		}
	}
	return false
}

// copies joins layers that only scales lead to (a norm weight that all heads
// share) to the neurons that they scale.
func (b *ninoBuilder) copies() {
	for _, s := range b.order {
		if !s.scale || len(s.atoms) == 0 {
			continue
		}
		for _, t := range b.order {
			if t != s && s.within(t) && !t.scale {
				b.spread(s, t, EdgeResidual, false)
			}
		}
	}
}

// residuals joins equal neurons of the layers that a sum combines.
func (b *ninoBuilder) residuals() {
	done := map[[2]int]bool{}
	for _, r := range b.g.fine.residuals {
		from, to, ok := b.paired(r)
		if !ok {
			continue
		}
		for i := range from {
			s := b.lookup(from[i])
			if s == nil {
				continue
			}
			t := b.lookup(to[i])
			if t == nil {
				t = b.set(to[i], nodeName(r.node), "", false)
			}
			key := [2]int{s.layer.First, t.layer.First}
			if s == t || s.layer.Size != t.layer.Size || done[key] {
				continue
			}
			done[key] = true
			b.n.Blocks = append(b.n.Blocks, Block{Type: EdgeResidual, Diagonal: true,
				Source: b.ordered(s, from[i]), Target: b.ordered(t, to[i])})
		}
	}
}

// ordered is the nodes of a layer with the given atoms as row-major indices.
func (b *ninoBuilder) ordered(s *layerSet, list []*class) Span {
	w := side{set: s}
	for _, c := range list {
		c = b.g.fine.node(c)
		w.leaves = append(w.leaves, pieceLeaf{leaf: leaf{c, c.dim.Value, 0}})
		w.strides = append(w.strides, s.stride(c))
	}
	span, _ := w.span(s.layer.First)
	return span
}

// paired lists, cell by cell, the atoms on both ends of a residual connection;
// false where the two ends are composed differently.
func (b *ninoBuilder) paired(r residual) (from, to [][]*class, ok bool) {
	x, okx := productCells(r.from)
	y, oky := productCells(r.to)
	if !okx || !oky || len(x) != len(y) {
		return nil, nil, false
	}
	for i := range x {
		if x[i].offset != y[i].offset {
			return nil, nil, false
		}
		from, to = append(from, wideAtoms(x[i])), append(to, wideAtoms(y[i]))
	}
	return from, to, true
}

func wideAtoms(c cell) []*class {
	var out []*class
	for _, l := range c.leaves {
		if l.size > 1 || len(c.leaves) == 1 {
			out = append(out, l.c)
		}
	}
	return out
}
