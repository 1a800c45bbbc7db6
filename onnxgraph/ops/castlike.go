// https://onnx.ai/onnx/operators/onnx__CastLike.html

package ops

import "ninox/onnxgraph/op"

var castLike = &op.Def{
	Name: "CastLike", Versions: since(15, 19, 21, 23, 24, 25), Attrs: attrs(aStr("round_mode"), aInt("saturate")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		c.Set(0, c.I(1).DType(), c.I(0).Shape().Clone())
		if e, ok := elemsOf(c.I(0)); ok && !c.I(0).Param && (c.I(1).DType().IsInteger() || c.I(1).DType().IsFloat()) {
			setElems(c, 0, e)
		}
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		align(c, 0, 0)
		return nil
	}),
	Grad: op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.Emit("CastLike", []string{c.GO(0), c.I(0)}))
		return nil
	}),
	Lower: lowers(out0(func(k lowCalc) string { return k.cast(k.I(0), k.Fact(k.I(1)).DType()) })),
}
