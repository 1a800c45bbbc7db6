// https://onnx.ai/onnx/operators/onnx__Trilu.html
// https://onnx.ai/onnx/operators/onnx__EyeLike.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// triangles are operators on the diagonals of matrices.
var triangles = []*op.Def{
	trilu("", since(14)), trilu(microsoft, since(1)),
	{
		Name: "EyeLike", Versions: since(9, 22), Attrs: attrs(aInt("dtype"), aInt("k")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.DType(c.Node.Int("dtype", int64(c.I(0).DType()))), c.I(0).Shape().Clone())
			return nil
		},
		Flow: op.Opaque("a diagonal ties rows to columns"), Grad: op.ZeroGrad, Lower: op.Primitive,
	},
}

func trilu(domain string, versions []int64) *op.Def {
	return &op.Def{
		Domain: domain, Name: "Trilu", Versions: versions, Attrs: attrs(aInt("upper")), In: op.Between(1, 2), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if r := c.I(0).Rank(); r == 0 || r == 1 {
				return c.Errorf("", "input of shape %s, expected matrices", c.I(0).Shape())
			}
			return inferLike(c)
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			align(c, 0, 0)
			for a := 1; a <= min(2, c.InFact(0).Rank()); a++ {
				c.Fix(c.In(0, -a), "a triangle is cut along the diagonal")
			}
			return nil
		}),
		Grad: op.Gradient(func(c op.GradCtx) error {
			in := []string{c.GO(0)}
			if c.I(1) != "" {
				in = append(in, c.I(1))
			}
			c.SetGI(0, c.Emit("Trilu", in, onnxgraph.IntAttr("upper", c.Node().Int("upper", 1))))
			return nil
		}),
		Lower: op.Primitive,
	}
}
