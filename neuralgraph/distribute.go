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
	chain   []*onnxgraph.Node // the reshape and the changes of the view behind it
	in, out onnxgraph.Shape   // of the reshape
	at, end int               // axis at of in becomes the axes at … end-1 of out
	picked  int               // the one of these that is picked from
	axis    int               // where it is in the value that is picked from
	inner   int64             // extent of the axes behind it, up to end
}

// span is a range of indices that is picked.
type span struct{ lo, hi int64 }

// maxSpans bounds the parts that a packed axis is cut into.
const maxSpans = 8

// reshape looks at one reshape that splits an axis, and all that follows.
func (d *distribution) reshape(n *onnxgraph.Node) bool {
	c := cutting{in: d.a.facts.Fact(n.Input(0)).Shape(), out: d.a.facts.Fact(n.Output(0)).Shape()}
	if !c.splits() {
		return false
	}
	value := n.Output(0)
	for c.chain = []*onnxgraph.Node{n}; ; {
		users := d.users(value)
		if len(users) != 1 || !viewOps[users[0].OpType] || users[0].Input(0) != value {
			break
		}
		c.chain, value = append(c.chain, users[0]), users[0].Output(0)
	}
	for c.picked = c.at; c.picked < c.end; c.picked++ {
		c.inner = extent(product, wholes(c.out[c.picked+1:c.end])).Value
		c.axis = d.axisOf(value, d.a.env.lookup(n.Output(0))[c.picked])
		if c.axis < 0 || c.inner < 2 {
			continue
		}
		if spans := d.spans(value, c.axis); len(spans) > 1 {
			return d.part(&c, value, spans)
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

// wholes are atoms of the given extents, for extent.
func wholes(dims onnxgraph.Shape) []*class { return new(space).atoms(dims) }

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

// spans lists the different ranges of the axis that the users of a value pick;
// nil where some user does something else, or ranges overlap.
func (d *distribution) spans(value string, axis int) []span {
	var out []span
	for _, n := range d.users(value) {
		picks := d.picks(n, value, axis)
		if picks == nil {
			return nil
		}
		for _, p := range picks {
			if slices.Contains(out, p) {
				continue
			}
			if len(out) == maxSpans || slices.ContainsFunc(out, func(q span) bool { return p.lo < q.hi && q.lo < p.hi }) {
				return nil
			}
			out = append(out, p)
		}
	}
	return out
}

// picks are the ranges of the axis that a node gives, by output.
func (d *distribution) picks(n *onnxgraph.Node, value string, axis int) []span {
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
	switch n.OpType {
	case "Gather":
		if i := ints(1); len(i) == 1 && norm(n.Int("axis", 0), int64(len(shape))) == int64(axis) {
			at := norm(i[0], whole)
			return []span{{at, at + 1}}
		}
	case "Split":
		if norm(n.Int("axis", 0), int64(len(shape))) != int64(axis) {
			return nil
		}
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
	case "Slice":
		lo, hi, axes, steps := ints(1), ints(2), ints(3), ints(4)
		if len(lo) == 1 && len(hi) == 1 && len(axes) == 1 && norm(axes[0], int64(len(shape))) == int64(axis) && (n.Input(4) == "" || slices.Equal(steps, []int64{1})) {
			if s := (span{norm(lo[0], whole), norm(hi[0], whole)}); s.lo < s.hi {
				return []span{s}
			}
		}
	}
	return nil
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

// part writes the nodes of every part and lets the users of the value read them.
func (d *distribution) part(c *cutting, value string, spans []span) bool {
	if _, ok := c.target(); !ok {
		return false
	}
	parts := map[span]string{}
	var nodes []*onnxgraph.Node
	for _, s := range spans {
		parts[s] = d.one(c, s, &nodes)
	}
	d.insert(c.chain[len(c.chain)-1], nodes)
	d.repick(c, value, parts)
	return true
}

// one writes the nodes of one part: the packed axis, or where the picked axis is
// not its first factor, that and all behind it, is cut; then comes the chain.
func (d *distribution) one(c *cutting, s span, nodes *[]*onnxgraph.Node) string {
	base := c.chain[0].Output(0)
	emit := func(op, name string, inputs ...string) string {
		value := d.fresh(name + "/part")
		*nodes = append(*nodes, &onnxgraph.Node{Name: value, OpType: op, Inputs: inputs, Outputs: []string{value}})
		return value
	}
	value := c.chain[0].Input(0)
	var outer, inner []int64
	for i, x := range c.out[c.at:c.end] {
		switch i += c.at; {
		case i < c.picked:
			outer = append(outer, x.Value)
		case i > c.picked:
			inner = append(inner, x.Value)
		}
	}
	if len(outer) > 0 {
		shape, _ := c.target(append(slices.Clone(outer), c.out[c.picked].Value*c.inner)...)
		value = emit("Reshape", base, value, d.constant(base+"/shape", shape...))
	}
	value = emit("Slice", base, value, d.constant(base+"/lo", s.lo*c.inner), d.constant(base+"/hi", s.hi*c.inner), d.constant(base+"/axis", int64(c.picked)))
	shape, _ := c.target(append(append(outer, s.hi-s.lo), inner...)...)
	value = emit("Reshape", base, value, d.constant(base+"/shape", shape...))
	for _, n := range c.chain[1:] {
		m := n.Clone()
		m.Inputs[0] = value
		value = d.fresh(n.Output(0) + "/part")
		m.Name, m.Outputs = value, []string{value}
		*nodes = append(*nodes, m)
	}
	return value
}

// insert puts nodes behind the one that makes the same value as after.
func (d *distribution) insert(after *onnxgraph.Node, nodes []*onnxgraph.Node) {
	at := slices.IndexFunc(d.g.Nodes, func(n *onnxgraph.Node) bool { return n.Output(0) == after.Output(0) })
	d.g.Nodes = slices.Insert(d.g.Nodes, at+1, nodes...)
}

// repick lets the users of the packed value read the parts.
func (d *distribution) repick(c *cutting, value string, parts map[span]string) {
	var nodes []*onnxgraph.Node
	for _, n := range d.g.Nodes {
		if n.Input(0) != value || n.OpType == "Shape" || n.OpType == "Size" {
			nodes = append(nodes, n)
			continue
		}
		picks := d.picks(n, value, c.axis)
		if n.OpType == "Gather" {
			rank := d.a.facts.Fact(n.Input(1)).Rank()
			t := onnxgraph.Int64s(d.fresh(value+"/first"), dimsOf(rank), []int64{0})
			d.g.Initializers = append(d.g.Initializers, t)
			n.Inputs = []string{parts[picks[0]], t.Name}
			nodes = append(nodes, n)
			continue
		}
		for i, out := range n.Outputs {
			if out != "" {
				nodes = append(nodes, &onnxgraph.Node{Name: out, OpType: "Identity", Inputs: []string{parts[picks[i]]}, Outputs: []string{out}})
			}
		}
	}
	d.g.Nodes = nodes
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
