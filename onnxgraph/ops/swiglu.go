// https://onnx.ai/onnx/operators/onnx__SwiGLU.html

package ops

import "ninox/onnxgraph/op"

var swiGLU = &op.Def{
	Name: "SwiGLU", Versions: since(28), Attrs: attrs(aFloat("alpha")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		s := merged(c.I(0).Shape(), c.I(1).Shape())
		if s == nil && c.I(0).Shape() != nil && c.I(1).Shape() != nil {
			return c.Errorf("", "shapes %s and %s, expected equal ones", c.I(0).Shape(), c.I(1).Shape())
		}
		c.Set(0, c.I(0).DType(), s)
		return nil
	},
	Flow: op.Elementwise(), Grad: op.FromLowering,
	// (a·σ(α·a))·b
	Lower: lowers(out0(func(k lowCalc) string {
		gate := k.mul(k.I(0), k.one("Sigmoid", k.scale(k.I(0), float64(k.Node().Float("alpha", 1)))))
		return k.mul(gate, k.I(1))
	})),
}
