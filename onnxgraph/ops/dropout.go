// https://onnx.ai/onnx/operators/onnx__Dropout.html. From opset 12 on it drops
// only where its input training_mode says so; before opset 7 the attribute
// is_test turned it off.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var dropout = &op.Def{
	Name: "Dropout", Versions: since(1, 6, 7, 10, 12, 13, 22), In: op.Between(1, 3), Out: op.Between(1, 2),
	Attrs: attrs(aFloat("ratio"), aInt("seed"), aInt("is_test"), consumed),
	Infer: func(c *op.InferCtx) error {
		mask := onnxgraph.Bool
		if c.Opset < 10 {
			mask = c.I(0).DType()
		}
		c.Set(1, mask, c.I(0).Shape().Clone())
		return inferLike(c)
	},
	// Which elements are dropped is random; their distribution is the same
	// everywhere.
	Flow: op.Flows(func(c op.FlowCtx) error {
		align(c, 0, 0)
		if c.OutFact(1) != nil {
			align(c, 0, 1)
		}
		return nil
	}),
	Grad: op.Gradient(gradDropout), Lower: op.Primitive,
}

// gradDropout: dX = dY·mask/(1−ratio) in training, dY otherwise.
func gradDropout(c op.GradCtx) error {
	k := calc{c}
	mode := c.Fact(c.I(2))
	on, known := intsOf(mode)
	if mode == nil || known && len(on) == 1 && on[0] == 0 {
		c.SetGI(0, c.GO(0))
		return nil
	}
	ratio := k.ScalarLike(c.GO(0), 0.5)
	if c.I(1) != "" {
		ratio = k.cast(c.I(1), c.Fact(c.GO(0)).DType())
	}
	kept := k.sub(k.ScalarLike(c.GO(0), 1), ratio)
	if !known {
		kept = k.where(c.I(2), kept, k.ScalarLike(c.GO(0), 1))
	}
	c.SetGI(0, k.div(k.mul(c.GO(0), k.mask(c.Output(1), c.GO(0))), kept))
	return nil
}
