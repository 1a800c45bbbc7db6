// https://onnx.ai/onnx/operators/onnx__GatherND.html
// https://onnx.ai/onnx/operators/onnx__ScatterND.html
// https://onnx.ai/onnx/operators/onnx__Scatter.html
// https://onnx.ai/onnx/operators/onnx__TensorScatter.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// pointwise operators address several axes at once: the last axis of the
// indices holds the coordinates.
var pointwise = []*op.Def{
	{
		Name: "GatherND", Versions: since(11, 12, 13), Attrs: attrs(aInt("batch_dims")), In: op.Exactly(2), Out: op.Exactly(1),
		Infer: inferGatherND, Flow: op.Flows(flowGatherND), Grad: op.Gradient(gradGatherND), Lower: op.Primitive,
	},
	{
		Name: "ScatterND", Versions: since(11, 13, 16, 18), Attrs: attrs(aStr("reduction")), In: op.Exactly(3), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if n, ok := coordinates(c.I(1)); ok && c.I(0).Rank() >= 0 && n > c.I(0).Rank() {
				return c.Errorf("", "%d coordinates for input of shape %s", n, c.I(0).Shape())
			}
			return inferLike(c)
		},
		Flow: op.Flows(flowScatterND), Grad: op.Gradient(gradScatterND), Lower: op.Primitive,
	},
	{
		Name: "Scatter", Versions: since(9, 11), Attrs: attrs(aInt("axis")), In: op.Exactly(3), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if err := inferLike(c); err != nil {
				return err
			}
			return sameRank(c, 1, 2)
		},
		Flow: op.Flows(func(c op.FlowCtx) error { return flowElements(c, c.InFact(0)) }),
		Grad: op.Gradient(gradScatterElements), Lower: op.Primitive,
	},
}

// tensorScatter writes new positions of keys or values into a cache: past
// [B,…,S,…], update [B,…,s,…], where each sequence starts [B].
var tensorScatter = &op.Def{
	Name: "TensorScatter", Versions: since(24), Attrs: attrs(aInt("axis"), aStr("mode")), In: op.Between(2, 3), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		r := c.I(0).Rank()
		if u := c.I(1).Rank(); r >= 0 && u >= 0 && r != u {
			return c.Errorf("", "a cache of shape %s and an update of shape %s, expected equal ranks", c.I(0).Shape(), c.I(1).Shape())
		}
		return inferAlong(-2)(c)
	},
	Flow: op.Flows(func(c op.FlowCtx) error {
		r := c.InFact(0).Rank()
		if r < 2 || c.InFact(1).Rank() != r {
			return opaque(c, "the rank is not known")
		}
		axis := nodeAxis(c.Node(), -2, r)
		for a := range r {
			c.Link(c.In(0, a), c.Out(0, a))
			if a != axis {
				c.Link(c.In(1, a), c.Out(0, a))
			}
		}
		c.Fix(c.In(0, axis), "positions of a cache are ordered")
		c.Fix(c.In(1, axis), "positions of a cache are ordered")
		if c.InFact(2) != nil {
			c.Link(c.In(2, 0), c.Out(0, 0))
		}
		return nil
	}),
	Grad: op.NotDifferentiable("a cache is for inference"), Lower: op.Primitive,
}

// coordinates is the extent of the last axis of the indices.
func coordinates(indices *op.Fact) (int, bool) {
	s := indices.Shape()
	if len(s) == 0 || !s[len(s)-1].IsKnown() {
		return 0, false
	}
	return int(s[len(s)-1].Value), true
}

func inferGatherND(c *op.InferCtx) error {
	x, idx := c.I(0).Shape(), c.I(1).Shape()
	b := int(c.Node.Int("batch_dims", 0))
	n, ok := coordinates(c.I(1))
	if !ok || x == nil {
		c.Set(0, c.I(0).DType(), nil)
		return nil
	}
	if b < 0 || b >= len(idx) || b+n > len(x) || n < 1 {
		return c.Errorf("batch_dims", "%d batch axes and %d coordinates for data of shape %s and indices of shape %s", b, n, x, idx)
	}
	out := append(idx[:len(idx)-1].Clone(), x[b+n:]...)
	c.Set(0, c.I(0).DType(), out)
	return nil
}

func flowGatherND(c op.FlowCtx) error {
	x, idx := c.InFact(0).Rank(), c.InFact(1).Rank()
	b := int(c.Node().Int("batch_dims", 0))
	n, ok := coordinates(c.InFact(1))
	if !ok || x < 0 {
		return opaque(c, "the number of coordinates is not known")
	}
	for a := range b {
		c.Link(c.In(0, a), c.In(1, a))
	}
	for a := range idx - 1 {
		c.Link(c.In(1, a), c.Out(0, a))
	}
	c.Fix(c.In(1, idx-1), "coordinates have a place each")
	for a := b; a < x; a++ {
		if a < b+n {
			c.Index(c.In(0, a), "addressed by the indices of GatherND")
		} else {
			c.Link(c.In(0, a), c.Out(0, idx-1+a-b-n))
		}
	}
	return nil
}

// gradGatherND counts the addressed points in one number, and adds the
// gradients to them; ScatterND is not exact where points repeat.
func gradGatherND(c op.GradCtx) error {
	k := calc{c}
	n, ok := coordinates(c.Fact(c.I(1)))
	s := c.Fact(c.I(0)).Shape()
	batch := int(c.Node().Int("batch_dims", 0))
	switch {
	case c.Opset() < 16:
		return c.Errorf("the gradient adds up repeated points, which ScatterElements does from opset 16 on; convert the model")
	case !ok || s == nil:
		return c.Errorf("the number of coordinates is not known")
	}
	flat, points := k.flatPoints(c.I(0), c.I(1), batch, n)
	inner := k.Emit("Slice", []string{k.ShapeOf(c.I(0)), k.vector(int64(batch + n)), k.vector(int64(len(s)))})
	rows := k.two("Reshape", c.GO(0), k.Emit("Concat", []string{k.vector(-1), inner}, onnxgraph.IntAttr("axis", 0)))
	c.SetGI(0, k.likeShape(k.scatterAxis(rows, flat, 0, points, true), c.I(0)))
	return nil
}

func flowScatterND(c op.FlowCtx) error {
	x, idx, up := c.InFact(0).Rank(), c.InFact(1).Rank(), c.InFact(2).Rank()
	n, ok := coordinates(c.InFact(1))
	if !ok || x < 0 || up < 0 {
		return opaque(c, "the number of coordinates is not known")
	}
	align(c, 0, 0)
	for a := range n {
		c.Index(c.In(0, a), "addressed by the indices of ScatterND")
	}
	for a := range idx - 1 {
		c.Link(c.In(1, a), c.In(2, a))
	}
	c.Fix(c.In(1, idx-1), "coordinates have a place each")
	for a := n; a < x; a++ {
		c.Link(c.In(2, idx-1+a-n), c.Out(0, a))
	}
	return nil
}

// gradScatterND: overwritten points get no gradient; added ones pass it to
// both.
func gradScatterND(c op.GradCtx) error {
	k := calc{c}
	switch r := c.Node().Str("reduction", "none"); r {
	case "none":
		if c.Needs(0) {
			c.SetGI(0, c.Emit("ScatterND", []string{c.GO(0), c.I(1), k.zerosLike(c.I(2))}))
		}
	case "add":
		c.SetGI(0, c.GO(0))
	default:
		n, ok := coordinates(c.Fact(c.I(1)))
		if !ok || c.Fact(c.I(0)).Rank() < 0 {
			return c.Errorf("the number of coordinates is not known")
		}
		dx, du, err := scatterNDAsElements(c, n).gradReduced(c, r)
		if err != nil {
			return err
		}
		if c.Needs(0) {
			c.SetGI(0, k.likeShape(dx, c.I(0)))
		}
		if c.Needs(2) {
			c.SetGI(2, k.likeShape(du, c.I(2)))
		}
		return nil
	}
	if c.Needs(2) {
		c.SetGI(2, k.two("GatherND", c.GO(0), c.I(1)))
	}
	return nil
}
