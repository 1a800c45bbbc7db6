// https://onnx.ai/onnx/operators/onnx__CumSum.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var cumSum = &op.Def{
	Name: "CumSum", Versions: since(11, 14), Attrs: attrs(aInt("exclusive"), aInt("reverse")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		if v, ok := intsOf(c.I(1)); ok && len(v) == 1 && c.I(0).Rank() > 0 {
			if _, err := c.Axis(v[0], c.I(0).Rank()); err != nil {
				return err
			}
		}
		return inferLike(c)
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		v, ok := intsOf(c.InFact(1))
		if !ok || len(v) != 1 || c.InFact(0).Rank() < 1 {
			return opaque(c, "the axis is computed")
		}
		align(c, 0, 0)
		c.Fix(c.In(0, int(v[0])), "is summed up in order")
		return nil
	}),
	Grad: op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.Emit("CumSum", []string{c.GO(0), c.I(1)},
			onnxgraph.IntAttr("exclusive", c.Node().Int("exclusive", 0)), onnxgraph.IntAttr("reverse", 1-c.Node().Int("reverse", 0))))
		return nil
	}),
	Lower: op.Primitive,
}
