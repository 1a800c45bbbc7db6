package neuralgraph

import (
	"slices"

	"ninox/onnxgraph"
)

// Packed projections are often taken apart behind a reshape: [.., 3·n] becomes
// [.., 3, n], is transposed, and the three are picked from the new axis. Read
// literally, queries, keys and values then share the axis n. distribute turns
// this around for the analysis: it cuts the packed axis first, and reshapes
// each part alone.

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

// reshape looks at one reshape that splits an axis, and all that follows.
func (d *distribution) reshape(n *onnxgraph.Node) bool {
	in, out := d.a.facts.Fact(n.Input(0)).Shape(), d.a.facts.Fact(n.Output(0)).Shape()
	at := 0
	for at < len(in) && at < len(out) && in[at].Same(out[at]) {
		at++
	}
	if at >= len(in) || at >= len(out) || !in[at].IsKnown() || !out[at].IsKnown() || out[at].Value < 2 || out[at].Value > 8 ||
		in[at].Value%out[at].Value != 0 || len(out) <= len(in) {
		return false
	}
	chain, value := []*onnxgraph.Node{n}, n.Output(0)
	for {
		users := d.users(value)
		if len(users) != 1 || !viewOps[users[0].OpType] || users[0].Input(0) != value {
			break
		}
		chain, value = append(chain, users[0]), users[0].Output(0)
	}
	axis := d.axisOf(value, d.a.env.lookup(n.Output(0))[at])
	if axis < 0 || !d.picked(value, axis) {
		return false
	}
	shape, ok := partShape(in, out, at)
	if !ok {
		return false
	}
	parts := int(out[at].Value)
	values := make([]string, parts)
	var nodes []*onnxgraph.Node
	for i := range parts {
		values[i] = d.part(chain, &nodes, shape, at, i, in[at].Value/out[at].Value)
	}
	d.insert(chain[len(chain)-1], nodes)
	d.repick(value, axis, values)
	return true
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

// picked says whether all users take single indices of the axis.
func (d *distribution) picked(value string, axis int) bool {
	users := d.users(value)
	rank := d.a.facts.Fact(value).Rank()
	for _, n := range users {
		at := int(n.Int("axis", 0))
		if at < 0 {
			at += rank
		}
		if at != axis || n.Input(0) != value || n.Domain != "" {
			return false
		}
		switch n.OpType {
		case "Gather":
			if idx, ok := d.a.facts.Fact(n.Input(1)).Ints(); !ok || len(idx) != 1 {
				return false
			}
		case "Split":
			for _, out := range n.Outputs {
				if s := d.a.facts.Fact(out).Shape(); len(s) <= axis || s[axis] != onnxgraph.Known(1) {
					return false
				}
			}
		default:
			return false
		}
	}
	return len(users) > 0
}

// partShape is the shape of one part behind the reshape: 0 copies an extent.
func partShape(in, out onnxgraph.Shape, at int) ([]int64, bool) {
	shape, free := make([]int64, len(out)), 0
	for i, d := range out {
		switch {
		case i == at:
			shape[i] = 1
		case i < at:
			shape[i] = 0
		case d.IsKnown():
			shape[i] = d.Value
		default:
			shape[i] = -1
			free++
		}
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

// part writes the nodes of one part and returns its value.
func (d *distribution) part(chain []*onnxgraph.Node, nodes *[]*onnxgraph.Node, shape []int64, axis, i int, size int64) string {
	lo := int64(i) * size
	base := chain[0].Output(0)
	value := d.fresh(base + "/part")
	*nodes = append(*nodes, &onnxgraph.Node{Name: value, OpType: "Slice", Outputs: []string{value}, Inputs: []string{
		chain[0].Input(0), d.constant(base+"/lo", lo), d.constant(base+"/hi", lo+size), d.constant(base+"/axis", int64(axis))}})
	for k, n := range chain {
		c := n.Clone()
		c.Inputs[0] = value
		if k == 0 {
			c.Inputs[1] = d.constant(base+"/shape", shape...)
			c.Attrs = nil
		}
		value = d.fresh(n.Output(0) + "/part")
		c.Name, c.Outputs = value, []string{value}
		*nodes = append(*nodes, c)
	}
	return value
}

// insert puts nodes behind the one that makes the same value as after.
func (d *distribution) insert(after *onnxgraph.Node, nodes []*onnxgraph.Node) {
	at := slices.IndexFunc(d.g.Nodes, func(n *onnxgraph.Node) bool { return n.Output(0) == after.Output(0) })
	d.g.Nodes = slices.Insert(d.g.Nodes, at+1, nodes...)
}

// repick lets the users of the packed value read the parts.
func (d *distribution) repick(value string, axis int, parts []string) {
	zero := ""
	for k, n := range d.g.Nodes {
		if n.Input(0) != value {
			continue
		}
		switch n.OpType {
		case "Gather":
			idx, _ := d.a.facts.Fact(n.Input(1)).Ints()
			i := idx[0]
			if i < 0 {
				i += int64(len(parts))
			}
			if i < 0 || i >= int64(len(parts)) {
				continue
			}
			if zero == "" || d.a.facts.Fact(n.Input(1)).Rank() != 0 {
				t := onnxgraph.Int64s(d.fresh(value+"/first"), dimsOf(d.a.facts.Fact(n.Input(1)).Rank()), []int64{0})
				d.g.Initializers = append(d.g.Initializers, t)
				zero = t.Name
			}
			n.Inputs = []string{parts[i], zero}
		case "Split":
			for i, out := range n.Outputs {
				id := &onnxgraph.Node{Name: out, OpType: "Identity", Inputs: []string{parts[i]}, Outputs: []string{out}}
				if i == 0 {
					d.g.Nodes[k] = id
				} else {
					d.g.Nodes = slices.Insert(d.g.Nodes, k+i, id)
				}
			}
			return // a split is the only user that takes all parts
		}
	}
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
