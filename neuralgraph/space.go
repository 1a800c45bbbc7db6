package neuralgraph

import "ninox/onnxgraph"

// kind tells how a class of axes is known to be composed.
type kind int

const (
	atom    kind = iota // not composed, as far as is known
	product             // the row-major product of its parts
	concat              // the concatenation of its parts
)

// mark is a set of properties of a class. Marks of a composed class hold for
// all its parts.
type mark uint16

const (
	markInput      mark = 1 << iota // axis of a model input
	markOutput                      // axis of a model output
	markSpatial                     // a kernel or a window slides over it
	markTaps                        // kernel positions
	markIndex                       // addressed by data
	markContracted                  // summed over against another operand
	markData                        // axis of the data operand (in the local view of one use)
	markResult                      // axis of the result (in the local view of one use)
	markVocabulary                  // addressed by data that a model input carries
	markNeuron                      // neurons of a layer
	markHead                        // attention heads
	markHeadDim                     // neurons within a head
	markInner                       // summed over between two constants
)

// class is a set of axes that correspond index for index.
type class struct {
	parent  *class
	dim     onnxgraph.Dim
	kind    kind
	parts   []*class
	fixed   string // why its indices may not be permuted, empty where they may
	marks   mark
	members int
	unit    bool // a concatenation that is treated as an atom
	id      int
}

// space is a union-find over axes with structure: classes that are found to be
// the same get a common refinement of their compositions.
type space struct {
	classes []*class
}

func (s *space) atom(d onnxgraph.Dim) *class {
	c := &class{dim: d, members: 1, id: len(s.classes)}
	s.classes = append(s.classes, c)
	return c
}

func (s *space) atoms(shape onnxgraph.Shape) []*class {
	out := make([]*class, len(shape))
	for i, d := range shape {
		out[i] = s.atom(d)
	}
	return out
}

func find(c *class) *class {
	for c.parent != nil {
		if c.parent.parent != nil {
			c.parent = c.parent.parent
		}
		c = c.parent
	}
	return c
}

func isOne(d onnxgraph.Dim) bool { return d.Value == 1 }

// compose makes a class of the given parts. Factors of extent 1 and segments
// of extent 0 say nothing and are dropped; a single part is returned itself.
func (s *space) compose(k kind, parts []*class) *class {
	kept := make([]*class, 0, len(parts))
	for _, p := range parts {
		if p = find(p); k == product && !isOne(p.dim) || k == concat && p.dim.Value != 0 {
			kept = append(kept, p)
		}
	}
	switch {
	case len(kept) == 1:
		return kept[0]
	case len(kept) == 0 && k == product:
		return s.atom(onnxgraph.Known(1))
	case len(kept) == 0:
		return s.atom(onnxgraph.Known(0))
	}
	c := s.atom(extent(k, kept))
	c.kind, c.parts = k, kept
	return c
}

// extent is that of a product or concatenation, unknown where a part's is.
func extent(k kind, parts []*class) onnxgraph.Dim {
	n := int64(0)
	if k == product {
		n = 1
	}
	for _, p := range parts {
		d := find(p).dim
		if !d.IsKnown() {
			return onnxgraph.UnknownDim()
		}
		if k == product {
			n *= d.Value
		} else {
			n += d.Value
		}
	}
	return onnxgraph.Known(n)
}

// flat lists the parts of a class for a kind of composition, nested ones of
// the same kind opened; a class of another kind is its own only part.
func flat(k kind, c *class) []*class {
	c = find(c)
	if c.kind != k {
		return []*class{c}
	}
	var out []*class
	for _, p := range c.parts {
		for _, q := range flat(k, p) {
			if k == product && isOne(q.dim) || k == concat && q.dim.Value == 0 {
				continue
			}
			out = append(out, q)
		}
	}
	return out
}

func contains(c, part *class) bool {
	c = find(c)
	if c == part {
		return true
	}
	for _, p := range c.parts {
		if contains(p, part) {
			return true
		}
	}
	return false
}

// fix says that the indices of the class may not be permuted. The first reason
// stays.
func (s *space) fix(c *class, reason string) {
	if c = find(c); c.fixed == "" {
		c.fixed = reason
	}
}

func (s *space) mark(c *class, m mark) { find(c).marks |= m }

const unaligned = "its factors in different places have no common refinement"

// unify says that both classes correspond index for index. Where their
// compositions cannot be reconciled both become fixed.
func (s *space) unify(a, b *class) {
	a, b = find(a), find(b)
	if a == b {
		return
	}
	if a.dim.IsKnown() && b.dim.IsKnown() && a.dim != b.dim {
		s.fix(a, unaligned)
		s.fix(b, unaligned)
		return
	}
	if b.kind == atom {
		a, b = b, a
	}
	if a.kind == atom {
		if b.kind != atom && contains(b, a) {
			s.fix(b, unaligned)
			return
		}
		absorb(b, a)
		return
	}
	ok := false
	switch {
	case a.kind == product && b.kind == product:
		ok = s.alignProducts(flat(product, a), flat(product, b))
	case a.kind == concat && b.kind == concat:
		ok = s.alignConcats(flat(concat, a), flat(concat, b))
	case a.kind == product:
		ok = s.alignMixed(flat(product, a), flat(concat, b))
	default:
		a, b = b, a
		ok = s.alignMixed(flat(product, a), flat(concat, b))
	}
	a, b = find(a), find(b)
	if !ok {
		s.fix(a, unaligned)
		s.fix(b, unaligned)
		return
	}
	if a != b {
		absorb(a, b)
	}
}

// absorb makes b a member of a's class. b's composition is dropped: it is an
// atom, or its parts were aligned with a's.
func absorb(a, b *class) {
	b.parent = a
	a.marks |= b.marks
	a.members += b.members
	if a.fixed == "" {
		a.fixed = b.fixed
	}
	if !a.dim.IsKnown() && (b.dim.IsKnown() || a.dim.Symbol == "") {
		a.dim = b.dim
	}
	b.parts = nil
}

// split gives the parts of c of the given extents. Where c cannot be split so,
// c and the parts become fixed.
func (s *space) split(k kind, c *class, dims ...onnxgraph.Dim) []*class {
	parts := make([]*class, len(dims))
	for i, d := range dims {
		parts[i] = s.atom(d)
	}
	whole := s.compose(k, parts)
	s.unify(c, whole)
	if find(c) != find(whole) {
		for _, p := range parts {
			s.fix(p, unaligned)
		}
	}
	return parts
}

// alignEnds unifies the parts that two lists of parts of the same whole share at
// both ends and returns the rest. done says that nothing is left to align, ok
// whether that went well.
func (s *space) alignEnds(k kind, x, y []*class) (restX, restY []*class, done, ok bool) {
	for len(x) > 0 && len(y) > 0 && s.same(x[0], y[0]) {
		s.unify(x[0], y[0])
		x, y = reflat(k, x[1:]), reflat(k, y[1:])
	}
	for len(x) > 0 && len(y) > 0 && s.same(x[len(x)-1], y[len(y)-1]) {
		s.unify(x[len(x)-1], y[len(y)-1])
		x, y = reflat(k, x[:len(x)-1]), reflat(k, y[:len(y)-1])
	}
	switch {
	case len(x) == 0 || len(y) == 0:
		return x, y, true, len(x) == len(y)
	case len(x) == 1 || len(y) == 1:
		s.unify(s.compose(k, x), s.compose(k, y))
		return x, y, true, true
	}
	return x, y, false, false
}

// alignProducts unifies two lists of factors with the same product.
func (s *space) alignProducts(x, y []*class) bool {
	x, y, done, ok := s.alignEnds(product, x, y)
	if done {
		return ok
	}
	// Both have several factors: split the larger one at the front, or where
	// that is not known, at the back.
	first := x[0].dim.IsKnown() && y[0].dim.IsKnown()
	if !s.splitEnds(x, y, first) {
		return false
	}
	x, y = reflat(product, x), reflat(product, y)
	if first && !s.same(x[0], y[0]) || !first && !s.same(x[len(x)-1], y[len(y)-1]) {
		return false // a split was not possible
	}
	return s.alignProducts(x, y)
}

// splitEnds splits the larger of the two first, or last, factors by the other.
func (s *space) splitEnds(x, y []*class, first bool) bool {
	p, q := x[0], y[0]
	if !first {
		p, q = x[len(x)-1], y[len(y)-1]
	}
	if !p.dim.IsKnown() || !q.dim.IsKnown() {
		return false
	}
	if p.dim.Value < q.dim.Value {
		p, q = q, p
	}
	if q.dim.Value == 0 || p.dim.Value%q.dim.Value != 0 {
		return false
	}
	rest := onnxgraph.Known(p.dim.Value / q.dim.Value)
	if first {
		s.split(product, p, q.dim, rest)
	} else {
		s.split(product, p, rest, q.dim)
	}
	return true
}

// alignConcats unifies two lists of segments of the same whole.
func (s *space) alignConcats(x, y []*class) bool {
	x, y, done, ok := s.alignEnds(concat, x, y)
	if done {
		return ok
	}
	p, q := x[0].dim, y[0].dim
	switch {
	case !p.IsKnown() || !q.IsKnown():
		return false
	case p.Value > q.Value:
		s.split(concat, x[0], q, onnxgraph.Known(p.Value-q.Value))
	default:
		s.split(concat, y[0], p, onnxgraph.Known(q.Value-p.Value))
	}
	x, y = reflat(concat, x), reflat(concat, y)
	if !s.same(x[0], y[0]) {
		return false
	}
	return s.alignConcats(x, y)
}

// alignMixed unifies a product with a concatenation whose cuts fall between
// rows of the first factor: that factor becomes a concatenation itself.
func (s *space) alignMixed(factors, segments []*class) bool {
	lead, rest := factors[0], factors[1:]
	row := extent(product, rest)
	if !lead.dim.IsKnown() || !row.IsKnown() || row.Value == 0 {
		return false
	}
	cuts := make([]onnxgraph.Dim, len(segments))
	for i, seg := range segments {
		if d := seg.dim; !d.IsKnown() || d.Value%row.Value != 0 {
			return false
		}
		cuts[i] = onnxgraph.Known(seg.dim.Value / row.Value)
	}
	rows := s.split(concat, lead, cuts...)
	if find(lead).fixed == unaligned {
		return false
	}
	for i, seg := range segments {
		s.unify(seg, s.compose(product, append([]*class{rows[i]}, rest...)))
	}
	return true
}

func (s *space) same(a, b *class) bool {
	a, b = find(a), find(b)
	return a == b || a.dim.Same(b.dim)
}

func reflat(k kind, list []*class) []*class {
	var out []*class
	for _, c := range list {
		out = append(out, flat(k, c)...)
	}
	if k == product {
		kept := out[:0]
		for _, c := range out {
			if !isOne(c.dim) {
				kept = append(kept, c)
			}
		}
		out = kept
	}
	return out
}

// settle hands marks and reasons of composed classes down to their parts.
func (s *space) settle() {
	for _, c := range s.classes {
		if c.parent == nil && c.kind != atom {
			handDown(c, 0, "", 0)
		}
	}
}

func handDown(c *class, m mark, fixed string, members int) {
	c = find(c)
	c.marks |= m
	c.members = max(c.members, members)
	if c.fixed == "" {
		c.fixed = fixed
	}
	for _, p := range c.parts {
		handDown(p, c.marks, c.fixed, c.members)
	}
}

// leaf is an atom within an axis: index i of it moves by i·stride.
type leaf struct {
	c      *class
	size   int64
	stride int64
}

// cell is a part of an axis without concatenations: the indices
// offset + Σ iₖ·strideₖ.
type cell struct {
	offset int64
	leaves []leaf
}

// maxCells bounds the number of segments of one axis that are told apart.
const maxCells = 4096

// cells lists the cells of an axis; false where its extent is unknown or there
// are too many.
func cells(c *class) ([]cell, bool) {
	c = find(c)
	if !c.dim.IsKnown() {
		return nil, false
	}
	switch {
	case c.unit:
	case c.kind == product:
		return productCells(c.parts)
	case c.kind == concat:
		var out []cell
		at := int64(0)
		for _, p := range c.parts {
			sub, ok := cells(p)
			if !ok || len(out)+len(sub) > maxCells {
				return nil, false
			}
			for _, q := range sub {
				out = append(out, cell{at + q.offset, q.leaves})
			}
			at += find(p).dim.Value
		}
		return out, true
	}
	return []cell{{leaves: []leaf{{c, c.dim.Value, 1}}}}, true
}

func productCells(parts []*class) ([]cell, bool) {
	out, row := []cell{{}}, int64(1)
	for i := len(parts) - 1; i >= 0; i-- {
		sub, ok := cells(parts[i])
		if !ok || len(out)*len(sub) > maxCells {
			return nil, false
		}
		next := make([]cell, 0, len(out)*len(sub))
		for _, lead := range sub {
			for _, tail := range out {
				leaves := make([]leaf, 0, len(lead.leaves)+len(tail.leaves))
				for _, l := range lead.leaves {
					leaves = append(leaves, leaf{l.c, l.size, l.stride * row})
				}
				next = append(next, cell{lead.offset*row + tail.offset, append(leaves, tail.leaves...)})
			}
		}
		out, row = next, row*find(parts[i]).dim.Value
	}
	return out, true
}

// leaves lists the atoms of an axis, whatever its composition.
func leaves(c *class) []*class {
	c = find(c)
	if c.kind == atom || c.unit {
		return []*class{c}
	}
	var out []*class
	for _, p := range c.parts {
		out = append(out, leaves(p)...)
	}
	return out
}
