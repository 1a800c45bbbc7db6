// https://onnx.ai/onnx/operators/onnx__Where.html and NonZero

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var where = &op.Def{
	Name: "Where", Versions: since(9, 16), In: op.Exactly(3), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		s, err := broadcast(c, c.I(0).Shape(), c.I(1).Shape(), c.I(2).Shape())
		if err != nil {
			return err
		}
		c.Set(0, c.I(1).DType(), s)
		folder{
			ints: func(x []int64) (int64, bool) {
				if x[0] != 0 {
					return x[1], true
				}
				return x[2], true
			},
			dims: func(x []onnxgraph.Dim) onnxgraph.Dim {
				switch {
				case !x[0].IsKnown():
					return onnxgraph.UnknownDim()
				case x[0].Value != 0:
					return x[1]
				}
				return x[2]
			},
		}.fold(c)
		return nil
	},
	Flow: op.Elementwise(),
	Grad: op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		zero := k.ScalarLike(c.GO(0), 0)
		if c.Needs(1) {
			c.SetGI(1, k.where(c.I(0), c.GO(0), zero))
		}
		if c.Needs(2) {
			c.SetGI(2, k.where(c.I(0), zero, c.GO(0)))
		}
		return nil
	}),
	Lower: op.Primitive,
}

var nonZero = &op.Def{
	Name: "NonZero", Versions: since(9, 13), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		rank := onnxgraph.UnknownDim()
		if r := c.I(0).Rank(); r >= 0 {
			rank = onnxgraph.Known(int64(max(r, 1)))
		}
		c.Set(0, onnxgraph.Int64, onnxgraph.Shape{rank, onnxgraph.UnknownDim()})
		if v, ok := intsOf(c.I(0)); ok && c.I(0).Rank() == 1 {
			var at []int64
			for i, x := range v {
				if x != 0 {
					at = append(at, int64(i))
				}
			}
			c.Set(0, onnxgraph.Int64, onnxgraph.StaticShape(1, int64(len(at))))
			setInts(c, 0, at)
		}
		return nil
	},
	Flow: op.Opaque("lists positions"),
	Grad: op.ZeroGrad, Lower: op.Primitive,
}
