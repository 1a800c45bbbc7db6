// https://onnx.ai/onnx/operators/onnx__RandomNormal.html, RandomNormalLike,
// RandomUniform, RandomUniformLike, Bernoulli, Multinomial

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// randoms draw numbers. What they draw depends on no input, so they neither
// tie axes nor carry gradients; probabilities aside.
var randoms = []*op.Def{
	drawn("RandomNormal", since(1, 22), attrs(aInt("dtype"), aFloat("mean"), aFloat("scale"), aFloat("seed"), need(aInts("shape"))), false),
	drawn("RandomUniform", since(1, 22), attrs(aInt("dtype"), aFloat("high"), aFloat("low"), aFloat("seed"), need(aInts("shape"))), false),
	drawn("RandomNormalLike", since(1, 22), attrs(aInt("dtype"), aFloat("mean"), aFloat("scale"), aFloat("seed")), true),
	drawn("RandomUniformLike", since(1, 22), attrs(aInt("dtype"), aFloat("high"), aFloat("low"), aFloat("seed")), true),
	drawn("Bernoulli", since(15, 22), attrs(aInt("dtype"), aFloat("seed")), true),
	{
		Name: "Multinomial", Versions: since(7, 22), Attrs: attrs(aInt("dtype"), aInt("sample_size"), aFloat("seed")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.DType(c.Node.Int("dtype", int64(onnxgraph.Int32))), onnxgraph.Shape{batchOf(c.I(0)), onnxgraph.Known(c.Node.Int("sample_size", 1))})
			return nil
		},
		Flow: op.Opaque("draws numbers of classes"), Grad: op.ZeroGrad, Lower: op.Primitive,
	},
}

// drawn has the shape of its attribute, or that of its input.
func drawn(name string, versions []int64, a []op.AttrSpec, like bool) *op.Def {
	d := &op.Def{
		Name: name, Versions: versions, Attrs: a, In: op.Exactly(0), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.DType(c.Node.Int("dtype", int64(onnxgraph.Float))), onnxgraph.StaticShape(c.Node.Ints("shape")...))
			return nil
		},
		Flow: op.Flows(func(op.FlowCtx) error { return nil }), // all elements are alike
		Grad: op.ZeroGrad, Lower: op.Primitive,
	}
	if like {
		d.In, d.Flow = op.Exactly(1), op.Elementwise()
		d.Infer = func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.DType(c.Node.Int("dtype", int64(c.I(0).DType()))), c.I(0).Shape().Clone())
			return nil
		}
	}
	return d
}
