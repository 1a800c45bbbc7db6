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
		foldNonZero(c)
		return nil
	},
	Flow: op.Opaque("lists positions"),
	Grad: op.ZeroGrad, Lower: op.Primitive,
}

// foldNonZero lists the positions of a known value, one row for each axis.
func foldNonZero(c *op.InferCtx) {
	x := c.I(0)
	var set []int // elements that are not 0
	if v, ok := intsOf(x); ok {
		set = indicesWhere(v)
	} else if v, ok := floatsOf(x); ok && !x.Param {
		set = indicesWhere(v)
	} else {
		return
	}
	dims, _ := x.Shape().Static() // known, since its elements are
	rank := max(len(dims), 1)
	at := make([]int64, rank*len(set))
	for k, i := range set {
		for a := len(dims) - 1; a >= 0; a-- {
			at[a*len(set)+k] = int64(i) % dims[a]
			i /= int(dims[a])
		}
	}
	c.Set(0, onnxgraph.Int64, onnxgraph.StaticShape(int64(rank), int64(len(set))))
	setInts(c, 0, at)
}

func indicesWhere[T int64 | float64](v []T) []int {
	var out []int
	for i, x := range v {
		if x != 0 {
			out = append(out, i)
		}
	}
	return out
}
