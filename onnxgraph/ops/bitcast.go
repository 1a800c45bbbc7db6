// https://onnx.ai/onnx/operators/onnx__BitCast.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var bitCast = &op.Def{
	Name: "BitCast", Versions: since(26), Attrs: attrs(need(aInt("to"))), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		from, to := c.I(0).DType(), onnxgraph.DType(c.Node.Int("to", 0))
		if !to.Valid() || from != onnxgraph.Undefined && from.Bits() != to.Bits() {
			return c.Errorf("to", "%s, expected a type as wide as %s", to, from)
		}
		c.Set(0, to, c.I(0).Shape().Clone())
		return nil
	},
	Flow: op.Elementwise(), Grad: op.ZeroGrad, Lower: op.Primitive,
}
