package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// upstreamOptimizers are the operators of upstream's optimizer models, and
// the accumulation of gradients in place. They are inferred, so that such
// models can be looked at; training replaces them.
var upstreamOptimizers = []*op.Def{
	inPlace("AdamWOptimizer", attrs(aInt("adam_mode"), aFloat("alpha"), aFloat("beta"), aInt("correct_bias"), aFloat("epsilon"), aFloat("weight_decay")), op.Between(6, 7), op.Between(1, 4), 2, 4, 5),
	inPlace("SGDOptimizerV2", nil, op.Between(3, 4), op.Between(1, 2), 1),
	inPlace("InPlaceAccumulatorV2", nil, op.Between(2, 3), op.Between(1, 2), 0),
	{
		Domain: microsoft, Name: "InplaceClipGradNorm", Versions: since(1), Attrs: attrs(aFloat("max_norm"), aStr("norm_type")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			setType(c, c.I(0).Type)
			return nil
		},
		Flow: op.Opaque("changes its inputs in place"), Grad: op.NotDifferentiable("changes its inputs in place"), Lower: op.Primitive,
	},
}

// inPlace gives a flag as output 0, and the inputs from as the others.
func inPlace(name string, a []op.AttrSpec, in, out op.Arity, from ...int) *op.Def {
	return &op.Def{
		Domain: microsoft, Name: name, Versions: since(1), Attrs: a, In: in, Out: out,
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.Bool, onnxgraph.StaticShape(1))
			for i, f := range from {
				if 1+i < len(c.Out) && c.I(f) != nil {
					c.Out[1+i].Type = c.I(f).Type
				}
			}
			return nil
		},
		Flow: op.Opaque("changes its inputs in place"), Grad: op.NotDifferentiable("changes its inputs in place"), Lower: op.Primitive,
	}
}
