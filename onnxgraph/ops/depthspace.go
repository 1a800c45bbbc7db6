// https://onnx.ai/onnx/operators/onnx__DepthToSpace.html
// https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// depthSpace moves blocks of channels to blocks of positions, and back.
var depthSpace = []*op.Def{
	{
		Name: "DepthToSpace", Versions: since(1, 11, 13, 28), Attrs: attrs(need(aInt("blocksize")), aStr("mode")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			return inferBlocks(c, func(s onnxgraph.Shape, b, bb onnxgraph.Dim) onnxgraph.Shape {
				return onnxgraph.Shape{s[0], divDims(s[1], bb), mulDims(s[2], b), mulDims(s[3], b)}
			})
		},
		Flow: op.Flows(func(c op.FlowCtx) error { return flowBlocks(c, c.In, c.Out, c.InFact(0)) }),
		Grad: op.FromLowering, Lower: lowers(lowerDepthToSpace),
	},
	{
		Name: "SpaceToDepth", Versions: since(1, 13, 28), Attrs: attrs(need(aInt("blocksize")), aStr("mode")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			return inferBlocks(c, func(s onnxgraph.Shape, b, bb onnxgraph.Dim) onnxgraph.Shape {
				return onnxgraph.Shape{s[0], mulDims(s[1], bb), divDims(s[2], b), divDims(s[3], b)}
			})
		},
		Flow: op.Flows(func(c op.FlowCtx) error { return flowBlocks(c, c.Out, c.In, c.OutFact(0)) }),
		Grad: op.FromLowering, Lower: lowers(lowerSpaceToDepth),
	},
}

func inferBlocks(c *op.InferCtx, shape func(s onnxgraph.Shape, b, bb onnxgraph.Dim) onnxgraph.Shape) error {
	b := c.Node.Int("blocksize", 0)
	if b < 1 {
		return c.Errorf("blocksize", "%d, expected at least 1", b)
	}
	s := c.I(0).Shape()
	if s == nil {
		s = unknowns(4)
	}
	if len(s) != 4 {
		return c.Errorf("", "input of shape %s, expected four axes", s)
	}
	out := shape(s, onnxgraph.Known(b), onnxgraph.Known(b*b))
	for a, d := range out {
		if !d.IsKnown() && s[a].IsKnown() {
			return c.Errorf("blocksize", "%d does not divide axis %d of %s", b, a, s)
		}
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}

// flowBlocks: in is the side with the deep channel axis. Of that axis, the
// place in the block is a position and fixed, the rest are channels.
func flowBlocks(c op.FlowCtx, deep, flat func(i, a int) op.Axis, deepFact *op.Fact) error {
	s := deepFact.Shape()
	b := c.Node().Int("blocksize", 1)
	if len(s) != 4 || !s[1].IsKnown() {
		return opaque(c, "the number of channels is not known")
	}
	block, channels := onnxgraph.Known(b*b), onnxgraph.Known(s[1].Value/(b*b))
	var place, channel op.Axis
	if c.Node().Str("mode", "DCR") == "CRD" {
		channel, place = grouped(c, deep(0, 1), channels, block)
	} else {
		place, channel = grouped(c, deep(0, 1), block, channels)
	}
	if place != noAxis {
		c.Fix(place, "is a position within a block")
	}
	link(c, channel, flat(0, 1))
	c.Link(deep(0, 0), flat(0, 0))
	for a := 2; a < 4; a++ {
		c.Fix(deep(0, a), "positions are ordered")
		c.Fix(flat(0, a), "positions are ordered")
	}
	return nil
}

// blockShape is a target of six axes for Reshape, made of extents of x and
// numbers; more than one extent may be known at run time only.
func blockShape(k calc, parts ...string) string {
	return k.Emit("Concat", parts, onnxgraph.IntAttr("axis", 0))
}

func lowerDepthToSpace(k lowCalc) error {
	x := k.I(0)
	s, b := k.Fact(x).Shape(), k.Node().Int("blocksize", 1)
	if len(s) != 4 || !s[1].IsKnown() {
		return k.Errorf("input of shape %s, expected a known number of channels", s)
	}
	n, h, w, bb, c := k.dimOf(x, 0), k.dimOf(x, 2), k.dimOf(x, 3), k.vector(b), k.vector(s[1].Value/(b*b))
	var y string
	if k.Node().Str("mode", "DCR") == "CRD" {
		y = k.transpose(k.two("Reshape", x, blockShape(k.calc, n, c, bb, bb, h, w)), 0, 1, 4, 2, 5, 3)
	} else {
		y = k.transpose(k.two("Reshape", x, blockShape(k.calc, n, bb, bb, c, h, w)), 0, 3, 4, 1, 5, 2)
	}
	k.SetO(0, k.two("Reshape", y, blockShape(k.calc, n, c, k.mul(h, bb), k.mul(w, bb))))
	return nil
}

func lowerSpaceToDepth(k lowCalc) error {
	x := k.I(0)
	s, b := k.Fact(x).Shape(), k.Node().Int("blocksize", 1)
	if len(s) != 4 || !s[1].IsKnown() {
		return k.Errorf("input of shape %s, expected a known number of channels", s)
	}
	n, bb, c := k.dimOf(x, 0), k.vector(b), k.vector(s[1].Value)
	h, w := k.div(k.dimOf(x, 2), bb), k.div(k.dimOf(x, 3), bb)
	perm := []int64{0, 3, 5, 1, 2, 4}
	if k.Node().Str("mode", "DCR") == "CRD" {
		perm = []int64{0, 1, 3, 5, 2, 4}
	}
	y := k.transpose(k.two("Reshape", x, blockShape(k.calc, n, c, h, bb, w, bb)), perm...)
	k.SetO(0, k.two("Reshape", y, blockShape(k.calc, n, k.vector(s[1].Value*b*b), h, w)))
	return nil
}
