// https://onnx.ai/onnx/operators/onnx__CastLike.html

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var castLike = &op.Def{
	Name: "CastLike", Versions: since(15, 19, 21, 23, 24, 25), Attrs: attrs(aStr("round_mode"), aInt("saturate")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		as := *c
		as.Node = &onnxgraph.Node{Name: c.Node.Name, OpType: "Cast", Attrs: []*onnxgraph.Attribute{onnxgraph.IntAttr("to", int64(c.I(1).DType()))}}
		as.In = c.In[:1]
		return inferCast(&as)
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		align(c, 0, 0)
		return nil
	}),
	Grad: op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.Emit("CastLike", []string{c.GO(0), c.I(0)}))
		return nil
	}),
	Lower: lowers(out0(func(k lowCalc) string {
		to := k.Fact(k.I(1)).DType()
		if len(k.Node().Attrs) == 0 {
			return k.cast(k.I(0), to)
		}
		return k.Emit("Cast", []string{k.I(0)}, append(slices.Clone(k.Node().Attrs), onnxgraph.IntAttr("to", int64(to)))...)
	})),
}
