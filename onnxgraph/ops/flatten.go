// https://onnx.ai/onnx/operators/onnx__Flatten.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var flatten = &op.Def{
	Name: "Flatten", Versions: since(1, 9, 11, 13, 21, 23, 24, 25), Attrs: attrs(aInt("axis")), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		x := c.I(0)
		if x.Rank() < 0 {
			c.Set(0, x.DType(), unknowns(2))
			return nil
		}
		axis, err := flattenAxis(c)
		if err != nil {
			return err
		}
		c.Set(0, x.DType(), onnxgraph.Shape{product(x.Shape()[:axis]), product(x.Shape()[axis:])})
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		in, out := inExtents(c, 0), outExtents(c, 0)
		axis := int(c.Node().Int("axis", 1))
		if axis < 0 {
			axis += len(in)
		}
		if c.InFact(0).Rank() < 0 || len(out) != 2 || axis < 0 || axis > len(in) {
			return opaque(c, "the rank is unknown")
		}
		regroup(c, in[:axis], out[:1])
		regroup(c, in[axis:], out[1:])
		return nil
	}),
	Grad: op.Gradient(gradLikeInput), Lower: op.Primitive,
}

// flattenAxis is the axis from which the second extent is made; unlike other
// axes it may be the rank itself.
func flattenAxis(c *op.InferCtx) (int, error) {
	rank := int64(c.I(0).Rank())
	axis := c.Node.Int("axis", 1)
	if axis < 0 {
		axis += rank
	}
	if axis < 0 || axis > rank {
		return 0, c.Errorf("axis", "%d is out of range for rank %d", c.Node.Int("axis", 1), rank)
	}
	return int(axis), nil
}
