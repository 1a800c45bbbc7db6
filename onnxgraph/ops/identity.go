// https://onnx.ai/onnx/operators/onnx__Identity.html

package ops

import "ninox/onnxgraph/op"

var identity = &op.Def{
	Name: "Identity", Versions: since(1, 13, 14, 16, 19, 21, 23, 24, 25), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		x := c.I(0)
		c.Out[0].Type = x.Type
		c.Out[0].Type.Shape = x.Shape().Clone()
		c.Out[0].Elems = x.Elems
		if !x.Param {
			c.Out[0].Const = x.Const
		} else {
			carryElems(c)
		}
		return nil
	},
	Flow: op.Elementwise(),
	Grad: op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.GO(0))
		return nil
	}),
	Lower: op.Primitive,
}
