// https://onnx.ai/onnx/operators/onnx__GatherElements.html and
// ScatterElements.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var gatherElements = &op.Def{
	Name: "GatherElements", Versions: since(11, 13), Attrs: attrs(aInt("axis")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		x, idx := c.I(0), c.I(1)
		c.Set(0, x.DType(), idx.Shape().Clone())
		return sameRank(c, 1)
	},
	Flow: op.Flows(func(c op.FlowCtx) error { return flowElements(c, c.InFact(1)) }),
	Grad: op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		axis := c.Node().Int("axis", 0)
		add := !singleIndex(c.Fact(c.I(1)), axis)
		if add && c.Opset() < 16 {
			return c.Errorf("the gradient adds up repeated indices, which ScatterElements does from opset 16 on; convert the model")
		}
		c.SetGI(0, k.scatter(k.zerosLike(c.I(0)), c.I(1), c.GO(0), axis, add))
		return nil
	}),
	Lower: op.Primitive,
}

var scatterElements = &op.Def{
	Name: "ScatterElements", Versions: since(11, 13, 16, 18), Attrs: attrs(aInt("axis"), aStr("reduction")),
	In: op.Exactly(3), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		if err := inferLike(c); err != nil {
			return err
		}
		switch r := c.Node.Str("reduction", "none"); r {
		case "none", "add", "mul", "max", "min":
		default:
			return c.Errorf("reduction", "%q, expected none, add, mul, max or min", r)
		}
		return sameRank(c, 1, 2)
	},
	Flow: op.Flows(func(c op.FlowCtx) error { return flowElements(c, c.InFact(0)) }),
	Grad: op.Gradient(gradScatterElements), Lower: op.Primitive,
}

// sameRank checks that the inputs have the rank of input 0, and the axis.
func sameRank(c *op.InferCtx, inputs ...int) error {
	rank := c.I(0).Rank()
	if rank < 0 {
		return nil
	}
	for _, i := range inputs {
		if r := c.I(i).Rank(); r >= 0 && r != rank {
			return c.Errorf("", "input %d has shape %s, expected the rank of input 0, %s", i, c.I(i).Shape(), c.I(0).Shape())
		}
	}
	_, err := c.Axis(c.Node.Int("axis", 0), rank)
	return err
}

// singleIndex says whether each line along the axis has one index only, so
// that none repeats.
func singleIndex(f *op.Fact, axis int64) bool {
	if f.Rank() < 1 {
		return false
	}
	if axis < 0 {
		axis += int64(f.Rank())
	}
	return axis >= 0 && axis < int64(f.Rank()) && f.Shape()[axis] == onnxgraph.Known(1)
}

// flowElements: data is addressed along one axis; along the others indices
// lie at their own places, all of them only where the extents are equal.
func flowElements(c op.FlowCtx, result *op.Fact) error {
	x, idx := c.InFact(0), c.InFact(1)
	if x.Rank() < 0 || idx.Rank() != x.Rank() {
		return opaque(c, "the rank is unknown")
	}
	axis := int(c.Node().Int("axis", 0))
	if axis < 0 {
		axis += x.Rank()
	}
	for a := range x.Rank() {
		switch {
		case a == axis:
			c.Index(c.In(0, a), "addressed by the indices of "+c.Node().OpType)
			if result == x {
				c.Link(c.In(0, a), c.Out(0, a))
				c.Link(c.In(1, a), c.In(2, a))
			} else {
				c.Link(c.In(1, a), c.Out(0, a))
			}
		case x.Shape()[a].Same(idx.Shape()[a]):
			c.Link(c.In(0, a), c.In(1, a))
			c.Link(c.In(1, a), c.Out(0, a))
			if result == x {
				c.Link(c.In(2, a), c.Out(0, a))
			}
		default:
			for i := range c.Node().Inputs {
				c.Fix(c.In(i, a), "indices cover a part of the axis")
			}
			c.Fix(c.Out(0, a), "indices cover a part of the axis")
		}
	}
	return nil
}

// gradScatterElements: overwritten elements get no gradient; added ones pass
// it to both.
func gradScatterElements(c op.GradCtx) error {
	k := calc{c}
	axis := onnxgraph.IntAttr("axis", c.Node().Int("axis", 0))
	switch r := c.Node().Str("reduction", "none"); r {
	case "none":
		if c.Needs(0) {
			c.SetGI(0, c.Emit("ScatterElements", []string{c.GO(0), c.I(1), k.zerosLike(c.I(2))}, axis))
		}
	case "add":
		c.SetGI(0, c.GO(0))
	default:
		s := scattering{calc: k, x: c.I(0), index: c.I(1), updates: c.I(2), y: c.O(0), dy: c.GO(0), axis: axis.I}
		dx, du, err := s.gradReduced(c, r)
		if err != nil {
			return err
		}
		c.SetGI(0, dx)
		c.SetGI(2, du)
		return nil
	}
	if c.Needs(2) {
		c.SetGI(2, c.Emit("GatherElements", []string{c.GO(0), c.I(1)}, axis))
	}
	return nil
}
