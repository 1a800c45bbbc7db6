// https://onnx.ai/onnx/operators/onnx__Split.html. The lengths are an attribute
// up to opset 12, then an input; without them the pieces are equal, from opset
// 18 on with a smaller last one where num_outputs does not divide the extent.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var split = &op.Def{
	Name: "Split", Versions: since(1, 2, 11, 13, 18), Attrs: attrs(aInt("axis"), aInts("split"), aInt("num_outputs")),
	In: op.Between(1, 2), Out: op.AtLeast(1),
	Infer: inferSplit, Flow: op.Flows(flowSplit), Grad: op.Gradient(gradSplit), Lower: op.Primitive,
}

func inferSplit(c *op.InferCtx) error {
	x := c.I(0)
	if x.Rank() < 0 {
		for i := range c.Out {
			c.Set(i, x.DType(), nil)
		}
		return nil
	}
	axis, err := c.Axis(c.Node.Int("axis", 0), x.Rank())
	if err != nil {
		return err
	}
	sizes, err := splitSizes(c, x.Shape()[axis])
	if err != nil {
		return err
	}
	elems, known := signedElems(x)
	for i, size := range sizes {
		s := x.Shape().Clone()
		s[axis] = size
		c.Set(i, x.DType(), s)
		if known && size.IsKnown() && size.Value <= int64(len(elems)) && !x.Param {
			setElems(c, i, elems[:size.Value])
			elems = elems[size.Value:]
		} else {
			known = false
		}
	}
	return nil
}

// splitSizes are the extents of the pieces.
func splitSizes(c *op.InferCtx, total onnxgraph.Dim) ([]onnxgraph.Dim, error) {
	n := len(c.Node.Outputs)
	sizes := make([]onnxgraph.Dim, n)
	given, ok := c.Node.Ints("split"), c.Node.Attr("split") != nil
	if !ok && c.I(1) != nil {
		d, known := elemsOf(c.I(1))
		if !known {
			return unknowns(n), nil
		}
		if len(d) != n {
			return nil, c.Errorf("split", "%d lengths for %d outputs", len(d), n)
		}
		copy(sizes, d)
		return sizes, checkSplit(c, sizes, total)
	}
	if ok {
		if len(given) != n {
			return nil, c.Errorf("split", "%d lengths for %d outputs", len(given), n)
		}
		for i, v := range given {
			sizes[i] = onnxgraph.Known(v)
		}
		return sizes, checkSplit(c, sizes, total)
	}
	if m := c.Node.Int("num_outputs", int64(n)); m != int64(n) {
		return nil, c.Errorf("num_outputs", "%d, but the node has %d outputs", m, n)
	}
	if total.IsKnown() {
		each := (total.Value + int64(n) - 1) / int64(n)
		if total.Value%int64(n) != 0 && c.Opset < 18 {
			return nil, c.Errorf("", "%d outputs do not divide an extent of %s", n, total)
		}
		for i := range sizes {
			sizes[i] = onnxgraph.Known(max(0, min(each, total.Value-int64(i)*each)))
		}
		return sizes, nil
	}
	each := divDims(total, onnxgraph.Known(int64(n)))
	for i := range sizes {
		sizes[i] = each
	}
	return sizes, nil
}

func checkSplit(c *op.InferCtx, sizes []onnxgraph.Dim, total onnxgraph.Dim) error {
	sum := onnxgraph.Known(0)
	for _, s := range sizes {
		sum = addDims(sum, s)
	}
	if sum.IsKnown() && total.IsKnown() && sum != total {
		return c.Errorf("split", "lengths %s add up to %s, the axis has extent %s", onnxgraph.Shape(sizes), sum, total)
	}
	return nil
}

func flowSplit(c op.FlowCtx) error {
	x := c.InFact(0)
	if x.Rank() < 1 {
		return opaque(c, "the rank is unknown")
	}
	axis := int(c.Node().Int("axis", 0))
	if axis < 0 {
		axis += x.Rank()
	}
	n := len(c.Node().Outputs)
	sizes := make([]onnxgraph.Dim, n)
	for i := range sizes {
		sizes[i] = onnxgraph.UnknownDim()
		if f := c.OutFact(i); f.Rank() > axis {
			sizes[i] = f.Shape()[axis]
		}
	}
	parts := c.Segment(c.In(0, axis), sizes...)
	for i := range n {
		if c.OutFact(i) == nil {
			continue
		}
		for a := range x.Rank() {
			if a == axis {
				c.Link(parts[i], c.Out(i, a))
			} else {
				c.Link(c.In(0, a), c.Out(i, a))
			}
		}
	}
	fixAll(c, "lists lengths", 1)
	return nil
}

func gradSplit(c op.GradCtx) error {
	k := calc{c}
	parts := make([]string, len(c.Node().Outputs))
	for i := range parts {
		if parts[i] = c.GO(i); parts[i] == "" {
			parts[i] = k.zerosLike(c.Output(i))
		}
	}
	c.SetGI(0, c.Emit("Concat", parts, onnxgraph.IntAttr("axis", c.Node().Int("axis", 0))))
	return nil
}
