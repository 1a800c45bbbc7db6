// https://onnx.ai/onnx/operators/onnx__Compress.html, NonMaxSuppression,
// ReverseSequence, Unique

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// selections choose or reorder by data.
var selections = []*op.Def{
	{
		Name: "Compress", Versions: since(9, 11, 28), Attrs: attrs(aInt("axis")), In: op.Exactly(2), Out: op.Exactly(1),
		Infer: inferCompress,
		Flow: op.Flows(func(c op.FlowCtx) error {
			r := c.InFact(0).Rank()
			if r < 1 || c.Node().Attr("axis") == nil {
				return opaque(c, "elements of all axes are chosen")
			}
			axis := nodeAxis(c.Node(), 0, r)
			for a := range r {
				if a != axis {
					c.Link(c.In(0, a), c.Out(0, a))
				}
			}
			c.Fix(c.In(0, axis), "chosen by data")
			c.Fix(c.Out(0, axis), "chosen by data")
			fixAll(c, "chosen by data", 1)
			return nil
		}),
		Grad: op.Gradient(gradCompress), Lower: op.Primitive,
	},
	{
		Name: "Unique", Versions: since(11, 28), Attrs: attrs(aInt("axis"), aInt("sorted")), In: op.Exactly(1), Out: op.Between(1, 4),
		Infer: func(c *op.InferCtx) error {
			out := unknowns(1)
			if s, a := c.I(0).Shape(), c.Node.Attr("axis"); a != nil && s != nil {
				axis, err := c.Axis(a.I, len(s))
				if err != nil {
					return err
				}
				out = s.Clone()
				out[axis] = onnxgraph.UnknownDim()
			} else if a != nil {
				out = nil
			}
			c.Set(0, c.I(0).DType(), out)
			for o := 1; o < 4; o++ {
				c.Set(o, onnxgraph.Int64, unknowns(1))
			}
			return nil
		},
		Flow: op.Opaque("sorts by value"), Grad: op.NotDifferentiable("how much it selects depends on data"), Lower: op.Primitive,
	},
	{
		Name: "NonMaxSuppression", Versions: since(10, 11), Attrs: attrs(aInt("center_point_box")), In: op.Between(2, 5), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.Int64, onnxgraph.Shape{onnxgraph.UnknownDim(), onnxgraph.Known(3)})
			return nil
		},
		Flow: op.Opaque("lists positions"), Grad: op.ZeroGrad, Lower: op.Primitive,
	},
	{
		Name: "ReverseSequence", Versions: since(10, 28), Attrs: attrs(aInt("batch_axis"), aInt("time_axis")), In: op.Exactly(2), Out: op.Exactly(1),
		Infer: inferLike,
		Flow: op.Flows(func(c op.FlowCtx) error {
			r := c.InFact(0).Rank()
			if r < 2 {
				return opaque(c, "the rank is not known")
			}
			align(c, 0, 0)
			c.Fix(c.In(0, int(c.Node().Int("time_axis", 0))), "its order is reversed")
			c.Link(c.In(0, int(c.Node().Int("batch_axis", 1))), c.In(1, 0))
			return nil
		}),
		// The reversal is its own inverse.
		Grad: op.Gradient(func(c op.GradCtx) error {
			n := c.Node()
			c.SetGI(0, c.Emit("ReverseSequence", []string{c.GO(0), c.I(1)}, onnxgraph.IntAttr("batch_axis", n.Int("batch_axis", 1)), onnxgraph.IntAttr("time_axis", n.Int("time_axis", 0))))
			return nil
		}),
		Lower: op.Primitive,
	},
}

func inferCompress(c *op.InferCtx) error {
	a := c.Node.Attr("axis")
	out := unknowns(1)
	chosen := onnxgraph.UnknownDim()
	if v, ok := intsOf(c.I(1)); ok {
		n := int64(0)
		for _, x := range v {
			n += min(x, 1)
		}
		chosen = onnxgraph.Known(n)
	}
	axis := 0
	switch s := c.I(0).Shape(); {
	case a != nil && s == nil:
		c.Set(0, c.I(0).DType(), nil)
		return nil
	case a != nil:
		var err error
		if axis, err = c.Axis(a.I, len(s)); err != nil {
			return err
		}
		out = s.Clone()
	}
	out[axis] = chosen
	c.Set(0, c.I(0).DType(), out)
	return nil
}
