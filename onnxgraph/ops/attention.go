// https://onnx.ai/onnx/operators/onnx__Attention.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// attentions are fused attention. Queries, keys and values have the axes
// batch, position, heads·size, or batch, head, position, size.
var attentions = []*op.Def{
	{
		Name: "Attention", Versions: since(23, 24, 25), In: op.Between(3, 7), Out: op.Between(1, 4),
		Attrs: attrs(aInt("is_causal"), aInt("kv_num_heads"), aInt("left_window_size"), aInt("q_num_heads"), aInt("qk_matmul_output_mode"), aInt("right_window_size"), aFloat("scale"), aFloat("softcap"), aInt("softmax_precision")),
		Infer: inferAttention, Flow: op.Flows(flowAttention), Grad: op.FromLowering, Lower: lowers(lowerAttention),
	},
}

// heads is one operand of attention as [batch, heads, positions, size].
type heads struct {
	batch, heads, positions, size onnxgraph.Dim
	packed                        bool // the file has [batch, positions, heads·size]
}

// headsOf reads a shape; n is the number of heads of a packed operand.
func headsOf(s onnxgraph.Shape, n int64) (heads, bool) {
	switch {
	case len(s) == 4:
		return heads{s[0], s[1], s[2], s[3], false}, true
	case len(s) == 3 && n > 0:
		return heads{s[0], onnxgraph.Known(n), s[1], divDims(s[2], onnxgraph.Known(n)), true}, true
	}
	return heads{}, false
}

// attentionHeads reads queries, keys and values of the standard operator.
func attentionHeads(n *onnxgraph.Node, shape func(i int) onnxgraph.Shape) (q, k, v heads, ok bool) {
	q, ok1 := headsOf(shape(0), n.Int("q_num_heads", 0))
	k, ok2 := headsOf(shape(1), n.Int("kv_num_heads", 0))
	v, ok3 := headsOf(shape(2), n.Int("kv_num_heads", 0))
	return q, k, v, ok1 && ok2 && ok3
}

func inferAttention(c *op.InferCtx) error {
	q, k, v, ok := attentionHeads(c.Node, func(i int) onnxgraph.Shape { return c.I(i).Shape() })
	d := c.I(0).DType()
	if !ok {
		for i := 0; i < 3; i++ {
			if r := c.I(i).Rank(); r == 3 {
				return c.Errorf("q_num_heads", "packed inputs need the numbers of heads")
			} else if r >= 0 && r != 4 {
				return c.Errorf("", "input %d has shape %s, expected three or four axes", i, c.I(i).Shape())
			}
		}
		c.Set(0, d, nil)
		for o := 1; o < 4; o++ {
			c.Set(o, d, unknowns(4))
		}
		return nil
	}
	if q.heads.IsKnown() && k.heads.IsKnown() && (k.heads.Value == 0 || q.heads.Value%k.heads.Value != 0) {
		return c.Errorf("kv_num_heads", "%s heads of keys do not divide %s of queries", k.heads, q.heads)
	}
	y := onnxgraph.Shape{q.batch, q.heads, q.positions, v.size}
	if q.packed {
		y = onnxgraph.Shape{q.batch, q.positions, mulDims(q.heads, v.size)}
	}
	total := k.positions
	if past := c.I(4).Shape(); len(past) == 4 {
		total = addDims(past[2], total)
	} else if c.I(4) != nil {
		total = onnxgraph.UnknownDim()
	}
	c.Set(0, d, y)
	c.Set(1, d, onnxgraph.Shape{k.batch, k.heads, total, k.size})
	c.Set(2, d, onnxgraph.Shape{v.batch, v.heads, total, v.size})
	c.Set(3, d, onnxgraph.Shape{q.batch, q.heads, q.positions, total})
	return nil
}

// headAxes are the axes of one operand: heads split into groups that share
// keys and the members of a group; noAxis where an extent is 1.
type headAxes struct{ batch, group, member, position, size op.Axis }

func axesOfHeads(c op.FlowCtx, axis func(a int) op.Axis, h heads, groups onnxgraph.Dim) headAxes {
	members := divDims(h.heads, groups)
	if !h.packed {
		g, m := grouped(c, axis(1), groups, members)
		return headAxes{axis(0), g, m, axis(2), axis(3)}
	}
	all, size := grouped(c, axis(2), h.heads, h.size)
	out := headAxes{batch: axis(0), group: noAxis, member: noAxis, position: axis(1), size: size}
	if all != noAxis {
		out.group, out.member = grouped(c, all, groups, members)
	}
	return out
}

// flowAttention: groups of heads may be exchanged, heads within a group as
// well, the places of a query together with those of its key, and those of
// the values.
func flowAttention(c op.FlowCtx) error {
	n := c.Node()
	q, k, v, ok := attentionHeads(n, func(i int) onnxgraph.Shape { return c.InFact(i).Shape() })
	if !ok || !q.heads.IsKnown() || !k.heads.IsKnown() || c.InFact(4) != nil || c.OutFact(1) != nil || c.OutFact(2) != nil || c.OutFact(3) != nil {
		return opaque(c, "attention with a cache, or with unknown numbers of heads")
	}
	y := q
	y.size = v.size
	aq := axesOfHeads(c, func(a int) op.Axis { return c.In(0, a) }, q, k.heads)
	ak := axesOfHeads(c, func(a int) op.Axis { return c.In(1, a) }, k, k.heads)
	av := axesOfHeads(c, func(a int) op.Axis { return c.In(2, a) }, v, k.heads)
	ay := axesOfHeads(c, func(a int) op.Axis { return c.Out(0, a) }, y, k.heads)
	ordered := n.Int("is_causal", 0) != 0 || n.Int("left_window_size", -1) >= 0 || n.Int("right_window_size", -1) >= 0
	flowHeads(c, aq, ak, av, ay, ordered)
	flowMask(c, 3, aq, ak)
	if c.InFact(6) != nil { // the number of keys that count
		c.Link(c.In(6, 0), aq.batch)
		c.Fix(ak.position, "keys behind the last that counts are left out")
	}
	return nil
}

func flowHeads(c op.FlowCtx, q, k, v, y headAxes, ordered bool) {
	for _, x := range []headAxes{q, k, v} {
		link(c, x.batch, y.batch)
		link(c, x.group, y.group)
	}
	link(c, q.member, y.member)
	link(c, q.position, y.position)
	link(c, v.size, y.size)
	contract(c, q.size, k.size)
	contract(c, k.position, v.position)
	if ordered {
		c.Fix(k.position, "positions are ordered by a mask")
		c.Fix(q.position, "positions are ordered by a mask")
	}
}

// flowMask ties a mask [(batch, (heads,)) queries, keys] to the positions. A
// mask per head fixes the heads.
func flowMask(c op.FlowCtx, i int, q, k headAxes) {
	s := c.InFact(i).Shape()
	r := len(s)
	one := onnxgraph.Known(1)
	if r > 0 && s[r-1] != one {
		c.Link(c.In(i, -1), k.position)
	}
	if r > 1 && s[r-2] != one {
		c.Link(c.In(i, -2), q.position)
	}
	if r > 2 && s[r-3] != one {
		c.Fix(c.In(i, -3), "a mask per head")
		for _, a := range []op.Axis{q.group, q.member} {
			if a != noAxis {
				c.Fix(a, "a mask per head")
			}
		}
	}
	if r > 3 && s[0] != one {
		c.Link(c.In(i, 0), q.batch)
	}
}
