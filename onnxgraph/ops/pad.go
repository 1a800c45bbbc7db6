// https://onnx.ai/onnx/operators/onnx__Pad.html. Pads and value are attributes
// up to opset 10, then inputs; from opset 18 on, with axes.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var pad = &op.Def{
	Name: "Pad", Versions: since(1, 2, 11, 13, 18, 19, 21, 23, 24, 25), In: op.Between(1, 4), Out: op.Exactly(1),
	Attrs: attrs(aStr("mode"), aInts("pads"), aInts("paddings"), aFloat("value")),
	Infer: inferPad, Flow: op.Flows(flowPad), Grad: op.Gradient(gradPad), Lower: op.Primitive,
}

// padsOf are the pads before and after each axis; ok is false where they are
// not known.
func padsOf(n *onnxgraph.Node, rank int, in func(i int) *op.Fact) (before, after []onnxgraph.Dim, ints []int64, ok bool) {
	list := n.Ints("pads")
	if n.Attr("paddings") != nil {
		list = n.Ints("paddings")
	}
	dims := make([]onnxgraph.Dim, len(list))
	if in(1) != nil {
		list, _ = intsOf(in(1))
		if dims, ok = elemsOf(in(1)); !ok {
			return nil, nil, nil, false
		}
	}
	axes := upTo(0, rank)
	if in(3) != nil {
		if axes, ok = intsOf(in(3)); !ok {
			return nil, nil, nil, false
		}
	}
	if len(dims) != 2*len(axes) {
		return nil, nil, nil, false
	}
	before, after = make([]onnxgraph.Dim, rank), make([]onnxgraph.Dim, rank)
	ints = make([]int64, 2*rank)
	for i, a := range axes {
		if a < 0 {
			a += int64(rank)
		}
		if a < 0 || a >= int64(rank) {
			return nil, nil, nil, false
		}
		before[a], after[a] = dims[i], dims[i+len(axes)]
		if list != nil {
			ints[a], ints[int(a)+rank] = list[i], list[i+len(axes)]
			before[a].Value, after[a].Value = list[i], list[i+len(axes)]
		}
	}
	if list == nil {
		ints = nil
	}
	return before, after, ints, true
}

func inferPad(c *op.InferCtx) error {
	x := c.I(0)
	if x.Rank() < 0 {
		c.Set(0, x.DType(), nil)
		return nil
	}
	switch m := c.Node.Str("mode", "constant"); m {
	case "constant", "reflect", "edge", "wrap":
	default:
		return c.Errorf("mode", "%q, expected constant, reflect, edge or wrap", m)
	}
	before, after, ints, ok := padsOf(c.Node, x.Rank(), c.I)
	if !ok {
		if v, known := intsOf(c.I(1)); known && c.I(3) == nil {
			return c.Errorf("pads", "%d pads for rank %d, expected %d", len(v), x.Rank(), 2*x.Rank())
		}
		if c.I(1) == nil {
			return c.Errorf("pads", "%d pads for rank %d, expected %d", len(c.Node.Ints("pads")), x.Rank(), 2*x.Rank())
		}
		c.Set(0, x.DType(), unknowns(x.Rank()))
		return nil
	}
	out := x.Shape().Clone()
	for a := range out {
		switch {
		case ints != nil && out[a].IsKnown():
			n := out[a].Value + ints[a] + ints[a+x.Rank()]
			if n < 0 {
				return c.Errorf("pads", "axis %d of extent %s gets %d and %d", a, out[a], ints[a], ints[a+x.Rank()])
			}
			out[a] = onnxgraph.Known(n)
		case ints != nil:
			out[a] = moved(out[a], ints[a]+ints[a+x.Rank()])
		default:
			out[a] = addDims(addDims(out[a], before[a]), after[a])
		}
	}
	c.Set(0, x.DType(), out)
	return nil
}

// moved is d + n for any sign of n.
func moved(d onnxgraph.Dim, n int64) onnxgraph.Dim {
	if n < 0 {
		return subDims(d, onnxgraph.Known(-n))
	}
	return addDims(d, onnxgraph.Known(n))
}

func flowPad(c op.FlowCtx) error {
	x := c.InFact(0)
	if x.Rank() < 0 {
		return opaque(c, "the rank is unknown")
	}
	_, _, pads, ok := padsOf(c.Node(), x.Rank(), c.InFact)
	if !ok || pads == nil {
		return opaque(c, "the pads are computed")
	}
	fixAll(c, "lists pads", 1, 3)
	constant := c.Node().Str("mode", "constant") == "constant"
	for a := range x.Rank() {
		before, after := pads[a], pads[a+x.Rank()]
		switch {
		case before == 0 && after == 0:
			c.Link(c.In(0, a), c.Out(0, a))
		case before >= 0 && after >= 0 && constant:
			parts := c.Segment(c.Out(0, a), onnxgraph.Known(before), x.Shape()[a], onnxgraph.Known(after))
			c.Link(c.In(0, a), parts[1])
		case before <= 0 && after <= 0 && constant:
			parts := c.Segment(c.In(0, a), onnxgraph.Known(-before), c.OutFact(0).Shape()[a], onnxgraph.Known(-after))
			c.Link(parts[1], c.Out(0, a))
		default:
			c.Fix(c.In(0, a), "padded by its own elements, or cut and padded")
			c.Fix(c.Out(0, a), "padded by its own elements, or cut and padded")
		}
	}
	return nil
}

func gradPad(c op.GradCtx) error {
	k := calc{c}
	x := c.Fact(c.I(0))
	if x.Rank() < 0 {
		return c.Errorf("the rank of %q is unknown", c.I(0))
	}
	_, _, pads, ok := padsOf(c.Node(), x.Rank(), func(i int) *op.Fact { return c.Fact(c.I(i)) })
	mode := c.Node().Str("mode", "constant")
	switch {
	case mode == "constant" && ok && pads != nil:
		undo := make([]int64, len(pads))
		for i, p := range pads {
			undo[i] = -p
		}
		c.SetGI(0, k.padZeros(c.GO(0), undo))
	case mode == "constant":
		inputs := append([]string{c.GO(0), k.neg(c.I(1)), ""}, c.Node().Inputs[min(3, len(c.Node().Inputs)):]...)
		if len(inputs) == 3 {
			inputs = inputs[:2]
		}
		c.SetGI(0, k.likeShape(c.Emit("Pad", inputs), c.I(0)))
	case !ok || pads == nil:
		return c.Errorf("the pads are computed, which has no gradient in mode %s", mode)
	case c.Opset() < 16:
		return c.Errorf("the gradient of mode %s needs ScatterElements with addition, opset 16; convert the model", mode)
	default:
		c.SetGI(0, k.unpad(c.GO(0), c.I(0), pads, mode))
	}
	if value := c.I(2); value != "" && c.Needs(2) {
		if mode != "constant" {
			return c.Errorf("a value is given in mode %s", mode)
		}
		rank := x.Rank()
		all := k.reduce("ReduceSum", c.GO(0), false, upTo(0, rank)...)
		inner := k.reduce("ReduceSum", k.padZeros(c.GO(0), negated(pads)), false, upTo(0, rank)...)
		c.SetGI(2, k.likeShape(k.sub(all, inner), value))
	}
	return nil
}

func negated(v []int64) []int64 {
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = -x
	}
	return out
}

// unpad adds the gradients of elements that were copied into the padding,
// axis by axis: the same pad of 0, 1, 2 … says where each came from.
func (k calc) unpad(g, x string, pads []int64, mode string) string {
	rank := len(pads) / 2
	for a := rank - 1; a >= 0; a-- {
		if pads[a] == 0 && pads[a+rank] == 0 {
			continue
		}
		extent := k.dimOf(x, a)
		places := k.Emit("Range", []string{k.int(0), k.squeeze(extent, 0), k.int(1)})
		places = k.Emit("Pad", []string{places, k.vector(pads[a], pads[a+rank])}, onnxgraph.StringAttr("mode", mode))
		g = k.scatterAxis(g, places, a, extent, true)
	}
	return g
}
