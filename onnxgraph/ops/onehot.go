// https://onnx.ai/onnx/operators/onnx__OneHot.html

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var oneHot = &op.Def{
	Name: "OneHot", Versions: since(9, 11, 28), Attrs: attrs(aInt("axis")), In: op.Exactly(3), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		idx := c.I(0)
		if idx.Rank() < 0 {
			c.Set(0, c.I(2).DType(), nil)
			return nil
		}
		axis, err := c.Axis(c.Node.Int("axis", -1), idx.Rank()+1)
		if err != nil {
			return err
		}
		c.Set(0, c.I(2).DType(), slices.Insert(idx.Shape().Clone(), axis, sizeOf(c.I(1))))
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		rank := c.InFact(0).Rank()
		if rank < 0 {
			return opaque(c, "the rank is unknown")
		}
		axis := int(c.Node().Int("axis", -1))
		if axis < 0 {
			axis += rank + 1
		}
		for a := range rank {
			at := a
			if a >= axis {
				at++
			}
			c.Link(c.In(0, a), c.Out(0, at))
		}
		c.Index(c.Out(0, axis), "positions stand for values of the indices of a OneHot")
		fixAll(c, "is the off and the on value", 2)
		return nil
	}),
	// The off value gets the sum of the gradients at 0, the on value that at 1.
	Grad: op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		if !c.Needs(2) {
			return nil
		}
		d := c.Fact(c.GO(0)).DType()
		on := c.Emit("OneHot", []string{c.I(0), c.I(1), k.cast(k.vector(0, 1), d)}, onnxgraph.IntAttr("axis", c.Node().Int("axis", -1)))
		all := upTo(0, c.Fact(c.GO(0)).Rank())
		hit := k.sum(k.mul(c.GO(0), on), false, all...)
		rest := k.sub(k.sum(c.GO(0), false, all...), hit)
		c.SetGI(2, c.Emit("Concat", []string{k.unsqueeze(rest, 0), k.unsqueeze(hit, 0)}, onnxgraph.IntAttr("axis", 0)))
		return nil
	}),
	Lower: op.Primitive,
}
