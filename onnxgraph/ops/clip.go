// https://onnx.ai/onnx/operators/onnx__Clip.html. The limits are attributes up
// to opset 10, then inputs.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var clip = &op.Def{
	Name: "Clip", Versions: since(1, 6, 11, 12, 13), Attrs: attrs(aFloat("min"), aFloat("max"), consumed),
	In: op.Between(1, 3), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		for i := 1; i < len(c.In); i++ {
			if r := c.I(i).Rank(); r > 0 && product(c.I(i).Shape()) != onnxgraph.Known(1) {
				return c.Errorf("", "limit %d has shape %s, expected a scalar", i, c.I(i).Shape())
			}
		}
		return inferLike(c)
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		align(c, 0, 0)
		return nil
	}),
	// The limits are settings: they get no gradient.
	Grad: op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		inside := ""
		if c.I(1) != "" {
			inside = k.two("GreaterOrEqual", c.I(0), c.I(1))
		}
		if c.I(2) != "" {
			below := k.two("LessOrEqual", c.I(0), c.I(2))
			if inside != "" {
				below = k.two("And", inside, below)
			}
			inside = below
		}
		if inside == "" {
			c.SetGI(0, c.GO(0))
			return nil
		}
		c.SetGI(0, k.where(inside, c.GO(0), k.ScalarLike(c.GO(0), 0)))
		return nil
	}),
	Lower: op.Primitive,
}
