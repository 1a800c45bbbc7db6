package neuralgraph

import (
	"slices"

	"ninox/onnxgraph"
)

// Packed projections are often taken apart behind a reshape: [.., 3·n] becomes
// [.., 3, n], is transposed, and the three are picked from the new axis; or
// [.., heads, 3, n], or the heads of keys and values follow those of queries:
// [.., heads + 2, n]. Read literally, queries, keys and values then share the
// axis n. distribute turns this around for the analysis: it cuts the packed axis
// first, and reshapes each part alone.

// views are the operators between the reshape and the picking.
var viewOps = map[string]bool{"Transpose": true, "Unsqueeze": true, "Squeeze": true, "Identity": true}

// distribute returns a model in which packed axes are cut before they are
// reshaped, and whether it differs. The analysis must have run once: it tells
// which axis is which.
func (a *analysis) distribute() (*onnxgraph.Model, bool) {
	m := a.model.Clone()
	d := &distribution{a: a, g: m.Graph, names: m.Graph.Names()}
	changed := false
	for _, n := range a.model.Graph.Nodes {
		if n.OpType == "Reshape" && n.Domain == "" {
			changed = d.reshape(n) || changed
		}
	}
	if !changed {
		return nil, false
	}
	d.sweep()
	return m, true
}

type distribution struct {
	a     *analysis
	g     *onnxgraph.Graph
	names map[string]bool
}

// cutting is one reshape that splits an axis, and what picks parts of one of
// the new axes behind it.
type cutting struct {
	reshape *onnxgraph.Node
	in, out onnxgraph.Shape // of the reshape
	at, end int             // axis at of in becomes the axes at … end-1 of out
	picked  int             // the one of these that is picked from
	inner   int64           // extent of the axes behind it, up to end
	picks   []pick
}

// pick is a node that takes ranges of the picked axis, one for each output.
type pick struct {
	node  *onnxgraph.Node
	chain []*onnxgraph.Node // the changes of the view between the reshape and the node
	spans []span
}

// span is a range of indices that is picked.
type span struct{ lo, hi int64 }

// maxPicks bounds the nodes that pick, and maxViews those between.
const (
	maxPicks = 8
	maxViews = 8
)

// reshape looks at one reshape that splits an axis, and all that follows.
func (d *distribution) reshape(n *onnxgraph.Node) bool {
	c := cutting{reshape: n, in: d.a.facts.Fact(n.Input(0)).Shape(), out: d.a.facts.Fact(n.Output(0)).Shape()}
	if !c.splits() {
		return false
	}
	for c.picked = c.at; c.picked < c.end; c.picked++ {
		c.inner = extent(product, new(space).atoms(c.out[c.picked+1:c.end])).Value
		c.picks = nil
		if c.inner > 1 && d.follow(&c, n.Output(0), nil) && c.separate() {
			return d.part(&c)
		}
	}
	return false
}

// splits finds the axis that is split.
func (c *cutting) splits() bool {
	for c.at < len(c.in) && c.at < len(c.out) && c.in[c.at].Same(c.out[c.at]) {
		c.at++
	}
	if c.at >= len(c.in) || !c.in[c.at].IsKnown() {
		return false
	}
	n := int64(1)
	for c.end = c.at; c.end < len(c.out) && c.out[c.end].IsKnown() && n < c.in[c.at].Value; c.end++ {
		n *= c.out[c.end].Value
	}
	return n == c.in[c.at].Value && c.end-c.at > 1
}

// follow finds all that reads a value behind the reshape. It says whether that
// are picks, directly or behind changes of the view.
func (d *distribution) follow(c *cutting, value string, chain []*onnxgraph.Node) bool {
	axis := d.axisOf(value, d.a.env.lookup(c.reshape.Output(0))[c.picked])
	if axis < 0 || len(chain) > maxViews {
		return false
	}
	for _, n := range d.users(value) {
		spans := d.spans(n, value, axis)
		switch {
		case spans != nil && len(c.picks) < maxPicks:
			c.picks = append(c.picks, pick{n, slices.Clone(chain), spans})
		case spans != nil || !viewOps[n.OpType] || n.Input(0) != value || !d.follow(c, n.Output(0), append(slices.Clone(chain), n)):
			return false
		}
	}
	return len(d.users(value)) > 0
}

// separate says whether the picks take several ranges that do not overlap.
func (c *cutting) separate() bool {
	var all []span
	for _, p := range c.picks {
		for _, s := range p.spans {
			if slices.Contains(all, s) {
				continue
			}
			if slices.ContainsFunc(all, func(q span) bool { return s.lo < q.hi && q.lo < s.hi }) {
				return false
			}
			all = append(all, s)
		}
	}
	return len(all) > 1
}

// users are the nodes that read a value's content.
func (d *distribution) users(value string) []*onnxgraph.Node {
	var out []*onnxgraph.Node
	for _, n := range d.a.consumers[value] {
		if n.OpType != "Shape" && n.OpType != "Size" {
			out = append(out, n)
		}
	}
	return out
}

// axisOf is the only axis of a value with the class, -1 where there is none.
func (d *distribution) axisOf(value string, c *class) int {
	found := -1
	for i, x := range d.a.env.lookup(value) {
		if find(x) != find(c) {
			continue
		}
		if found >= 0 {
			return -1
		}
		found = i
	}
	return found
}

// spans are the ranges of the axis that a node takes, by output; nil where it
// does something else.
func (d *distribution) spans(n *onnxgraph.Node, value string, axis int) []span {
	shape := d.a.facts.Fact(value).Shape()
	whole := shape[axis].Value
	if n.Input(0) != value || n.Domain != "" || slices.Contains(n.Inputs[1:], value) {
		return nil
	}
	ints := func(i int) []int64 {
		v, _ := d.a.facts.Fact(n.Input(i)).Ints()
		return v
	}
	norm := func(i, size int64) int64 {
		if i < 0 {
			i += size
		}
		return min(max(i, 0), size)
	}
	isAxis := func(i int64) bool { return norm(i, int64(len(shape))) == int64(axis) }
	switch n.OpType {
	case "Gather":
		if i := ints(1); len(i) == 1 && isAxis(n.Int("axis", 0)) {
			at := norm(i[0], whole)
			return []span{{at, at + 1}}
		}
	case "GatherND":
		if i := ints(1); len(i) == 1 && axis == 0 && n.Int("batch_dims", 0) == 0 && d.a.facts.Fact(n.Input(1)).Rank() == 2 {
			at := norm(i[0], whole)
			return []span{{at, at + 1}}
		}
	case "Split":
		if isAxis(n.Int("axis", 0)) {
			return d.split(n, axis)
		}
	case "Slice":
		lo, hi, axes, steps := ints(1), ints(2), ints(3), ints(4)
		if len(lo) == 1 && len(hi) == 1 && len(axes) == 1 && isAxis(axes[0]) && (n.Input(4) == "" || slices.Equal(steps, []int64{1})) {
			if s := (span{norm(lo[0], whole), norm(hi[0], whole)}); s.lo < s.hi {
				return []span{s}
			}
		}
	}
	return nil
}

// split are the ranges of the outputs of a Split.
func (d *distribution) split(n *onnxgraph.Node, axis int) []span {
	var out []span
	at := int64(0)
	for _, o := range n.Outputs {
		s := d.a.facts.Fact(o).Shape()
		if len(s) <= axis || !s[axis].IsKnown() {
			return nil
		}
		out = append(out, span{at, at + s[axis].Value})
		at += s[axis].Value
	}
	return out
}

// target is a shape for Reshape with the axes at … end-1 replaced: 0 copies an
// extent, and one that is not known follows from the others.
func (c *cutting) target(middle ...int64) ([]int64, bool) {
	shape, free := make([]int64, c.at), 0
	shape = append(shape, middle...)
	for _, d := range c.out[c.end:] {
		if !d.IsKnown() {
			free++
		}
		shape = append(shape, d.Value)
	}
	return shape, free <= 1
}

func (d *distribution) fresh(base string) string {
	for d.names[base] {
		base += "'"
	}
	d.names[base] = true
	return base
}

func (d *distribution) constant(base string, v ...int64) string {
	t := onnxgraph.Vector(d.fresh(base), v...)
	d.g.Initializers = append(d.g.Initializers, t)
	return t.Name
}

// part lets every pick read a part of its own.
func (d *distribution) part(c *cutting) bool {
	if _, ok := c.target(); !ok {
		return false
	}
	for _, p := range c.picks {
		var nodes []*onnxgraph.Node
		for i, s := range p.spans {
			if out := p.node.Output(i); out != "" {
				nodes = append(nodes, d.repick(p.node, out, d.one(c, s, p.chain, &nodes)))
			}
		}
		at := slices.IndexFunc(d.g.Nodes, func(n *onnxgraph.Node) bool { return slices.Equal(n.Outputs, p.node.Outputs) })
		d.g.Nodes = slices.Replace(d.g.Nodes, at, at+1, nodes...)
	}
	return true
}

// repick is the node that gives an output of a pick from its part.
func (d *distribution) repick(n *onnxgraph.Node, out, part string) *onnxgraph.Node {
	if n.OpType != "Gather" {
		return &onnxgraph.Node{Name: out, OpType: "Identity", Inputs: []string{part}, Outputs: []string{out}}
	}
	t := onnxgraph.Int64s(d.fresh(out+"/first"), dimsOf(d.a.facts.Fact(n.Input(1)).Rank()), []int64{0})
	d.g.Initializers = append(d.g.Initializers, t)
	m := n.Clone()
	m.Inputs = []string{part, t.Name}
	return m
}

// one writes the nodes of one part: the packed axis, or where the picked axis is
// not its first factor, that and all behind it, is cut; then comes the chain.
func (d *distribution) one(c *cutting, s span, chain []*onnxgraph.Node, nodes *[]*onnxgraph.Node) string {
	base := c.reshape.Output(0)
	emit := func(op string, inputs ...string) string {
		value := d.fresh(base + "/part")
		*nodes = append(*nodes, &onnxgraph.Node{Name: value, OpType: op, Inputs: inputs, Outputs: []string{value}})
		return value
	}
	value := c.reshape.Input(0)
	var outer, inner []int64
	for i := c.at; i < c.end; i++ {
		switch n := c.out[i].Value; {
		case i < c.picked:
			outer = append(outer, n)
		case i > c.picked:
			inner = append(inner, n)
		}
	}
	if len(outer) > 0 {
		shape, _ := c.target(append(slices.Clone(outer), c.out[c.picked].Value*c.inner)...)
		value = emit("Reshape", value, d.constant(base+"/shape", shape...))
	}
	value = emit("Slice", value, d.constant(base+"/lo", s.lo*c.inner), d.constant(base+"/hi", s.hi*c.inner), d.constant(base+"/axis", int64(c.picked)))
	shape, _ := c.target(append(append(outer, s.hi-s.lo), inner...)...)
	value = emit("Reshape", value, d.constant(base+"/shape", shape...))
	for _, n := range chain {
		m := n.Clone()
		m.Inputs[0] = value
		value = d.fresh(n.Output(0) + "/part")
		m.Name, m.Outputs = value, []string{value}
		*nodes = append(*nodes, m)
	}
	return value
}

func dimsOf(rank int) []int64 {
	if rank <= 0 {
		return []int64{}
	}
	return []int64{1}
}

// sweep drops nodes that nothing reads.
func (d *distribution) sweep() {
	for {
		read := map[string]bool{}
		for _, v := range d.g.Outputs {
			read[v.Name] = true
		}
		for _, n := range d.g.Nodes {
			for _, in := range n.Reads() {
				read[in] = true
			}
		}
		before := len(d.g.Nodes)
		d.g.Nodes = slices.DeleteFunc(d.g.Nodes, func(n *onnxgraph.Node) bool {
			return !slices.ContainsFunc(n.Outputs, func(out string) bool { return read[out] })
		})
		if len(d.g.Nodes) == before {
			return
		}
	}
}
