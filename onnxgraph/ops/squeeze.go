// https://onnx.ai/onnx/operators/onnx__Squeeze.html and Unsqueeze. The axes are
// an attribute up to opset 12, then an input.

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var squeeze = &op.Def{
	Name: "Squeeze", Versions: since(1, 11, 13, 21, 23, 24, 25), Attrs: attrs(aInts("axes")), In: op.Between(1, 2), Out: op.Exactly(1),
	Infer: inferSqueeze, Flow: op.Flows(flowSqueeze), Grad: op.Gradient(gradLikeInput), Lower: op.Primitive,
}

var unsqueeze = &op.Def{
	Name: "Unsqueeze", Versions: since(1, 11, 13, 21, 23, 24, 25), Attrs: attrs(aInts("axes")), In: op.Between(1, 2), Out: op.Exactly(1),
	Infer: inferUnsqueeze, Flow: op.Flows(flowSqueeze), Grad: op.Gradient(gradLikeInput), Lower: op.Primitive,
}

func inferSqueeze(c *op.InferCtx) error {
	x := c.I(0)
	axes, given, known := axesOf(c, "axes", 1)
	if x.Rank() < 0 || !known {
		c.Set(0, x.DType(), nil)
		if n := sizeOfVector(c.I(1)); x.Rank() >= 0 && n >= 0 && n <= int64(x.Rank()) {
			c.Set(0, x.DType(), unknowns(x.Rank()-int(n)))
		}
		return nil
	}
	one := onnxgraph.Known(1)
	drop, err := normalized(c, "axes", axes, x.Rank())
	if err != nil {
		return err
	}
	if !given {
		for a, d := range x.Shape() {
			switch {
			case d == one:
				drop = append(drop, a)
			case !d.IsKnown(): // may be 1 at run time, so that the rank is open
				c.Set(0, x.DType(), nil)
				return nil
			}
		}
	}
	out := onnxgraph.Shape{}
	for a, d := range x.Shape() {
		if !slices.Contains(drop, a) {
			out = append(out, d)
		} else if d.IsKnown() && d != one {
			return c.Errorf("axes", "axis %d has extent %s, expected 1", a, d)
		}
	}
	c.Set(0, x.DType(), out)
	carryElems(c)
	return nil
}

func inferUnsqueeze(c *op.InferCtx) error {
	x := c.I(0)
	axes, given, known := axesOf(c, "axes", 1)
	if !given {
		return c.Errorf("axes", "missing")
	}
	if x.Rank() < 0 || !known {
		c.Set(0, x.DType(), nil)
		if n := sizeOfVector(c.I(1)); x.Rank() >= 0 && n >= 0 && n <= maxElems {
			c.Set(0, x.DType(), unknowns(x.Rank()+int(n)))
		}
		return nil
	}
	rank := x.Rank() + len(axes)
	add, err := normalized(c, "axes", axes, rank)
	if err != nil {
		return err
	}
	out, from := make(onnxgraph.Shape, rank), x.Shape()
	for a := range out {
		if slices.Contains(add, a) {
			out[a] = onnxgraph.Known(1)
			continue
		}
		out[a], from = from[0], from[1:]
	}
	c.Set(0, x.DType(), out)
	carryElems(c)
	return nil
}

// flowSqueeze pairs the axes that are not added or removed, in order. Which
// ones those are follows from the axes where they are known, else from the
// extents.
func flowSqueeze(c op.FlowCtx) error {
	long, short := inExtents(c, 0), outExtents(c, 0)
	if c.InFact(0).Rank() < 0 || c.OutFact(0).Rank() < 0 {
		return opaque(c, "the rank is unknown")
	}
	fixAll(c, "lists axes", 1)
	if len(long) < len(short) {
		long, short = short, long
	}
	given := c.Node().Ints("axes")
	if c.Node().Attr("axes") == nil && c.InFact(1) != nil {
		given, _ = intsOf(c.InFact(1))
	}
	if len(given) != len(long)-len(short) {
		regroup(c, long, short)
		return nil
	}
	at := 0
	for a := range long {
		if !slices.Contains(given, int64(a)) && !slices.Contains(given, int64(a-len(long))) {
			c.Link(long[a].axis, short[at].axis)
			at++
		}
	}
	return nil
}
