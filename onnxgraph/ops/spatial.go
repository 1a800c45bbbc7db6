// https://onnx.ai/onnx/operators/onnx__MaxUnpool.html, LpPool, GlobalLpPool,
// GridSample, AffineGrid, RoiAlign, MaxRoiPool, Col2Im, CenterCropPad,
// DeformConv

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// spatials are further operators on images. X has batch and channels in front.
var spatials = []*op.Def{
	{
		Name: "MaxUnpool", Versions: since(9, 11, 22), Attrs: attrs(need(aInts("kernel_shape")), aInts("pads"), aInts("strides")), In: op.Between(2, 3), Out: op.Exactly(1),
		Infer: inferMaxUnpool,
		Flow:  op.Opaque("positions are counted over all axes at once"),
		Grad: op.Gradient(func(c op.GradCtx) error {
			k := calc{c}
			picked := k.two("Gather", k.reshape(c.GO(0), -1), k.reshape(c.I(1), -1))
			c.SetGI(0, k.likeShape(picked, c.I(0)))
			return nil
		}),
		Lower: op.Primitive,
	},
	{
		Name: "LpPool", Versions: since(1, 2, 11, 18, 22), Attrs: append(attrs(aInt("ceil_mode"), aInt("p")), poolAttrs...), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: inferPool, Flow: op.Flows(flowPool), Grad: op.FromLowering, Lower: lowers(lowerLpPool),
	},
	{
		Name: "GlobalLpPool", Versions: since(1, 2, 22), Attrs: attrs(aInt("p")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s := c.I(0).Shape().Clone()
			for a := 2; a < len(s); a++ {
				s[a] = onnxgraph.Known(1)
			}
			c.Set(0, c.I(0).DType(), s)
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			if c.InFact(0).Rank() < 2 {
				return opaque(c, "the rank is not known")
			}
			c.Link(c.In(0, 0), c.Out(0, 0))
			c.Link(c.In(0, 1), c.Out(0, 1))
			return nil
		}),
		Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			r := k.Fact(k.I(0)).Rank()
			if r < 3 {
				return k.Errorf("the rank of the input is not known")
			}
			p := float64(k.Node().Int("p", 2))
			k.SetO(0, k.power(k.sum(k.power(k.one("Abs", k.I(0)), p), true, upTo(2, r)...), 1/p))
			return nil
		}),
	},
	viaLowering(imageOp("GridSample", since(16, 20, 22), attrs(aInt("align_corners"), aStr("mode"), aStr("padding_mode")), op.Exactly(2), func(c *op.InferCtx) error {
		x, grid := c.I(0).Shape(), c.I(1).Shape()
		if len(x) < 3 || len(grid) != len(x) {
			c.Set(0, c.I(0).DType(), unknownLike(x))
			return nil
		}
		c.Set(0, c.I(0).DType(), append(x[:2].Clone(), grid[1:len(grid)-1]...))
		return nil
	}, flowGridSample), lowerGridSample),
	viaLowering(imageOp("AffineGrid", since(20), attrs(aInt("align_corners")), op.Exactly(2), func(c *op.InferCtx) error {
		d := shapeFrom(c.I(1)) // [batch, channels, extents]
		if len(d) < 3 {
			c.Set(0, c.I(0).DType(), nil)
			return nil
		}
		s := append(onnxgraph.Shape{d[0]}, d[2:]...)
		c.Set(0, c.I(0).DType(), append(s, onnxgraph.Known(int64(len(d)-2))))
		return nil
	}, nil), lowerAffineGrid),
	viaLowering(imageOp("RoiAlign", since(10, 16, 22), attrs(aStr("coordinate_transformation_mode"), aStr("mode"), aInt("output_height"), aInt("output_width"), aInt("sampling_ratio"), aFloat("spatial_scale")), op.Exactly(3), func(c *op.InferCtx) error {
		return inferRegions(c, c.Node.Int("output_height", 1), c.Node.Int("output_width", 1))
	}, flowRegions), lowerRoiAlign),
	imageOp("MaxRoiPool", since(1, 22), attrs(need(aInts("pooled_shape")), aFloat("spatial_scale")), op.Exactly(2), func(c *op.InferCtx) error {
		p := c.Node.Ints("pooled_shape")
		if len(p) != 2 {
			return c.Errorf("pooled_shape", "%v, expected height and width", p)
		}
		return inferRegions(c, p[0], p[1])
	}, flowRegions),
	viaLowering(imageOp("Col2Im", since(18), attrs(aInts("dilations"), aInts("pads"), aInts("strides")), op.Exactly(3), func(c *op.InferCtx) error {
		x, image := c.I(0).Shape(), shapeIn(c.I(1))
		if image == nil || len(x) != 3 {
			c.Set(0, c.I(0).DType(), nil)
			return nil
		}
		channels := onnxgraph.UnknownDim()
		if block, ok := elemsOf(c.I(2)); ok {
			channels = divDims(x[1], product(block))
		}
		c.Set(0, c.I(0).DType(), append(onnxgraph.Shape{x[0], channels}, image...))
		return nil
	}, nil), lowerCol2Im),
	viaLowering(imageOp("CenterCropPad", since(18), attrs(aInts("axes")), op.Exactly(2), inferCenterCropPad, func(c op.FlowCtx) error {
		in, out := c.InFact(0).Shape(), c.OutFact(0).Shape()
		for a := range min(len(in), len(out)) {
			if in[a].Same(out[a]) {
				c.Link(c.In(0, a), c.Out(0, a))
				continue
			}
			c.Fix(c.In(0, a), "is cut or padded")
			c.Fix(c.Out(0, a), "is cut or padded")
		}
		fixAll(c, "is a shape", 1)
		return nil
	}), lowerCenterCropPad),
	viaLowering(imageOp("DeformConv", since(19, 22), attrs(aInts("dilations"), aInt("group"), aInts("kernel_shape"), aInt("offset_group"), aInts("pads"), aInts("strides")), op.Between(3, 5), func(c *op.InferCtx) error {
		plain := *c
		plain.In = []*op.Fact{c.I(0), c.I(1)}
		return conv.Infer(&plain)
	}, nil), lowerDeformConv),
	{
		Name: "Det", Versions: since(11, 22), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s := c.I(0).Shape()
			if s != nil && len(s) < 2 {
				return c.Errorf("", "input of shape %s, expected matrices", s)
			}
			if s != nil {
				s = append(onnxgraph.Shape{}, s[:len(s)-2]...)
			}
			c.Set(0, c.I(0).DType(), s)
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			r := c.InFact(0).Rank()
			if r < 2 {
				return opaque(c, "the rank is not known")
			}
			for a := range r - 2 {
				c.Link(c.In(0, a), c.Out(0, a))
			}
			c.Fix(c.In(0, -1), "exchanging columns changes the sign")
			c.Fix(c.In(0, -2), "exchanging rows changes the sign")
			return nil
		}),
		Grad: op.NotDifferentiable("needs the inverse matrix, which is no operator"), Lower: op.Primitive,
	},
}

// imageOp is an operator without a gradient of its own; a nil flow is opaque.
func imageOp(name string, versions []int64, a []op.AttrSpec, in op.Arity, infer op.InferFunc, flow func(op.FlowCtx) error) *op.Def {
	d := &op.Def{
		Name: name, Versions: versions, Attrs: a, In: in, Out: op.Exactly(1), Infer: infer,
		Flow: op.Opaque("positions and channels are mixed by data"), Lower: op.Primitive,
		Grad: op.NotDifferentiable("the cells of a region are found by rounding its corners; RoiAlign has a gradient"),
	}
	if flow != nil {
		d.Flow = op.Flows(flow)
	}
	return d
}

func unknownLike(s onnxgraph.Shape) onnxgraph.Shape {
	if s == nil {
		return nil
	}
	return unknowns(len(s))
}

// power is x^p for x ≥ 0, by the cheapest operator.
func (k calc) power(x string, p float64) string {
	switch p {
	case 1:
		return x
	case 2:
		return k.square(x)
	case 0.5:
		return k.one("Sqrt", x)
	}
	return k.two("Pow", x, k.ScalarLike(x, p))
}

// lowerLpPool is the mean of |x|^p over the window, times its size, to the
// power 1/p.
func lowerLpPool(k lowCalc) error {
	n := k.Node()
	if n.Int("ceil_mode", 0) != 0 {
		return k.Errorf("rounded-up extents have no lowering")
	}
	size := 1.0
	for _, w := range n.Ints("kernel_shape") {
		size *= float64(w)
	}
	as := []*onnxgraph.Attribute{onnxgraph.IntAttr("count_include_pad", 1)}
	for _, a := range n.Attrs {
		switch a.Name {
		case "kernel_shape", "strides", "pads", "auto_pad":
			as = append(as, a)
		case "dilations":
			for _, d := range a.Ints {
				if d != 1 {
					return k.Errorf("dilated windows have no lowering")
				}
			}
		}
	}
	p := float64(n.Int("p", 2))
	mean := k.Emit("AveragePool", []string{k.power(k.one("Abs", k.I(0)), p)}, as...)
	k.SetO(0, k.power(k.scale(mean, size), 1/p))
	return nil
}

func inferMaxUnpool(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if given := c.I(2); given != nil {
		c.Set(0, c.I(0).DType(), shapeIn(given))
		if c.Out[0].Shape() == nil {
			c.Set(0, c.I(0).DType(), unknownLike(s))
		}
		return nil
	}
	if s == nil {
		c.Set(0, c.I(0).DType(), nil)
		return nil
	}
	if len(s) < 3 {
		return c.Errorf("", "input of shape %s, expected positions behind the channels", s)
	}
	win, bad := windowOf(c.Node, len(s)-2, nil)
	if bad != "" {
		return c.Errorf(bad, "does not fit input of shape %s", s)
	}
	for i := range len(s) - 2 {
		grown := mulDims(subDims(s[2+i], onnxgraph.Known(1)), onnxgraph.Known(win.strides[i]))
		grown = addDims(grown, onnxgraph.Known(win.kernel[i]))
		s[2+i] = subDims(grown, onnxgraph.Known(win.pads[i]+win.pads[len(s)-2+i]))
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// flowGridSample: channels are sampled alike, and the sampled points may
// stand in any order.
func flowGridSample(c op.FlowCtx) error {
	r := c.InFact(0).Rank()
	if r < 3 || c.InFact(1).Rank() != r {
		return opaque(c, "the rank is not known")
	}
	c.Link(c.In(0, 0), c.Out(0, 0))
	c.Link(c.In(1, 0), c.Out(0, 0))
	c.Link(c.In(0, 1), c.Out(0, 1))
	for a := 2; a < r; a++ {
		c.Fix(c.In(0, a), "positions are interpolated")
		c.Link(c.In(1, a-1), c.Out(0, a))
	}
	c.Fix(c.In(1, r-1), "coordinates have a place each")
	return nil
}

// inferRegions: one image of h × w for each region.
func inferRegions(c *op.InferCtx, h, w int64) error {
	regions, channels := onnxgraph.UnknownDim(), onnxgraph.UnknownDim()
	if s := c.I(1).Shape(); len(s) > 0 {
		regions = s[0]
	}
	if s := c.I(0).Shape(); len(s) > 1 {
		channels = s[1]
	}
	c.Set(0, c.I(0).DType(), onnxgraph.Shape{regions, channels, onnxgraph.Known(h), onnxgraph.Known(w)})
	return nil
}

func flowRegions(c op.FlowCtx) error {
	if c.InFact(0).Rank() != 4 || c.InFact(1).Rank() != 2 {
		return opaque(c, "the rank is not known")
	}
	c.Index(c.In(0, 0), "regions name their image")
	c.Link(c.In(0, 1), c.Out(0, 1))
	c.Link(c.In(1, 0), c.Out(0, 0))
	c.Fix(c.In(1, 1), "coordinates have a place each")
	if c.InFact(2) != nil {
		c.Link(c.In(2, 0), c.Out(0, 0))
	}
	for a := 2; a < 4; a++ {
		c.Fix(c.In(0, a), "positions are interpolated")
		c.Fix(c.Out(0, a), "positions are interpolated")
	}
	return nil
}

func inferCenterCropPad(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	want := shapeIn(c.I(1))
	if s == nil || want == nil {
		c.Set(0, c.I(0).DType(), unknownLike(s))
		return nil
	}
	axes := c.Node.Ints("axes")
	if axes == nil {
		axes = upTo(0, len(s))
	}
	at, err := normalized(c, "axes", axes, len(s))
	if err != nil {
		return err
	}
	if len(at) != len(want) {
		return c.Errorf("axes", "%d axes for a shape of %d entries", len(at), len(want))
	}
	for i, a := range at {
		s[a] = want[i]
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}
