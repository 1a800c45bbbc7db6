// https://onnx.ai/onnx/operators/onnx__Expand.html and Tile

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var expand = &op.Def{
	Name: "Expand", Versions: since(8, 13), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		s, err := broadcast(c, c.I(0).Shape(), shapeFrom(c.I(1)))
		if err != nil {
			return err
		}
		c.Set(0, c.I(0).DType(), s)
		folder{
			ints:   func(x []int64) (int64, bool) { return x[0], true },
			floats: func(x []float64) float64 { return x[0] },
		}.foldFirst(c)
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		align(c, 0, 0)
		fixAll(c, "is a shape", 1)
		return nil
	}),
	Grad: op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.GO(0)) // the engine sums over the broadcast axes
		return nil
	}),
	Lower: op.Primitive,
}

// foldFirst folds as if input 0 were the only one.
func (f folder) foldFirst(c *op.InferCtx) {
	only := *c
	only.In = c.In[:1]
	f.fold(&only)
}

var tile = &op.Def{
	Name: "Tile", Versions: since(1, 6, 13), In: op.Between(2, 3), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		x := c.I(0)
		repeats, known := elemsOf(c.I(1))
		if x.Rank() < 0 || !known || c.Opset < 6 {
			c.Set(0, x.DType(), nil)
			if n := x.Rank(); n >= 0 {
				c.Set(0, x.DType(), unknowns(n))
			}
			return nil
		}
		if len(repeats) != x.Rank() {
			return c.Errorf("", "%d repeats for rank %d", len(repeats), x.Rank())
		}
		out := x.Shape().Clone()
		for a := range out {
			out[a] = mulDims(out[a], repeats[a])
		}
		c.Set(0, x.DType(), out)
		return nil
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		repeats, known := elemsOf(c.InFact(1))
		if !known || len(repeats) != c.InFact(0).Rank() || c.Opset() < 6 {
			return opaque(c, "the repeats are computed")
		}
		fixAll(c, "lists repeats", 1)
		for a, r := range repeats {
			if r == onnxgraph.Known(1) {
				c.Link(c.In(0, a), c.Out(0, a))
				continue
			}
			parts := c.Factor(c.Out(0, a), r, c.InFact(0).Shape()[a])
			c.Link(c.In(0, a), parts[1])
		}
		return nil
	}),
	Grad: op.Gradient(gradTile), Lower: op.Primitive,
}

// gradTile sums over the repeats: [r·d] is seen as [r, d].
func gradTile(c op.GradCtx) error {
	k := calc{c}
	x := c.Fact(c.I(0))
	if x.Rank() < 0 {
		return c.Errorf("the rank of %q is unknown", c.I(0))
	}
	if x.Rank() == 0 {
		c.SetGI(0, c.GO(0))
		return nil
	}
	pairs := k.Emit("Concat", []string{k.unsqueeze(c.I(1), 1), k.unsqueeze(k.ShapeOf(c.I(0)), 1)}, onnxgraph.IntAttr("axis", 1))
	view := k.two("Reshape", c.GO(0), k.reshape(pairs, -1))
	var axes []int64
	for a := range x.Rank() {
		axes = append(axes, int64(2*a))
	}
	c.SetGI(0, k.likeShape(k.sum(view, false, axes...), c.I(0)))
	return nil
}
