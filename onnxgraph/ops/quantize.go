// https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html and
// DequantizeLinear, DynamicQuantizeLinear, MatMulInteger, ConvInteger,
// QLinearConv, QLinearMatMul

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// quantization are the operators on numbers of few bits. Scales and zero
// points that are vectors belong to one axis of the tensor they scale.
var quantization = []*op.Def{
	{
		Name: "QuantizeLinear", Versions: since(10, 13, 19, 21, 23, 24, 25, 28), Attrs: append(attrs(aInt("output_dtype"), aInt("saturate"), aInt("precision")), scaleAttrs...),
		In: op.Between(2, 3), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			d := onnxgraph.Uint8
			if c.I(2) != nil {
				d = c.I(2).DType()
			} else if a := c.Node.Attr("output_dtype"); a != nil && a.I != 0 {
				d = onnxgraph.DType(a.I)
			}
			c.Set(0, d, c.I(0).Shape().Clone())
			return nil
		},
		Flow: op.Flows(flowScaled),
		Grad: op.NotDifferentiable("rounding to integers has no useful derivative"), Lower: op.Primitive,
	},
	dequantize("", since(10, 13, 19, 21, 23, 24, 25, 28)), dequantize(microsoft, since(1)),
	{
		Name: "DynamicQuantizeLinear", Versions: since(11), In: op.Exactly(1), Out: op.Exactly(3),
		Infer: func(c *op.InferCtx) error {
			c.Set(0, onnxgraph.Uint8, c.I(0).Shape().Clone())
			c.Set(1, onnxgraph.Float, onnxgraph.Shape{})
			c.Set(2, onnxgraph.Uint8, onnxgraph.Shape{})
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error { align(c, 0, 0); return nil }),
		Grad: op.NotDifferentiable("rounding to integers has no useful derivative"), Lower: op.Primitive,
	},
	{
		Name: "MatMulInteger", Versions: since(10), In: op.Between(2, 4), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
			c.Set(0, onnxgraph.Int32, s)
			return err
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			if c.InFact(2).Rank() == 1 {
				c.Link(c.In(2, 0), c.In(0, -2))
			}
			if c.InFact(3).Rank() == 1 {
				c.Link(c.In(3, 0), c.In(1, -1))
			}
			return flowMatMul(c)
		}),
		Grad: integerOnly, Lower: op.Primitive,
	},
	{
		Name: "QLinearMatMul", Versions: since(10, 21), In: op.Exactly(8), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s, err := matMulShape(c, c.I(0).Shape(), c.I(3).Shape())
			c.Set(0, c.I(7).DType(), s)
			return err
		},
		Flow: op.FlowOfLowering, Grad: integerOnly, Lower: lowers(func(k lowCalc) error {
			a, b := k.quantized(0, -2), k.quantized(3, -1)
			k.setQuantized(k.two("MatMul", a, b), 6)
			return nil
		}),
	},
	quantizedConv("", "ConvInteger", op.Between(2, 4), 1, -1, nil, lowerConvInteger),
	quantizedConv("", "QLinearConv", op.Between(8, 9), 3, 7, nil, lowerQLinearConv),
}

var integerOnly = op.NotDifferentiable("its weights are integers")

var scaleAttrs = attrs(aInt("axis"), aInt("block_size"))

func dequantize(domain string, versions []int64) *op.Def {
	return &op.Def{
		Domain: domain, Name: "DequantizeLinear", Versions: versions, Attrs: append(attrs(aInt("output_dtype")), scaleAttrs...),
		In: op.Between(2, 3), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			d := c.I(1).DType()
			if a := c.Node.Attr("output_dtype"); a != nil && a.I != 0 {
				d = onnxgraph.DType(a.I)
			}
			c.Set(0, d, c.I(0).Shape().Clone())
			return nil
		},
		Flow: op.Flows(flowScaled), Grad: integerOnly, Lower: op.Primitive,
	}
}

// flowScaled: elementwise, the scale running along one axis; blocks of
// elements with a scale each are fixed.
func flowScaled(c op.FlowCtx) error {
	align(c, 0, 0)
	r := c.InFact(0).Rank()
	for i := 1; i < len(c.Node().Inputs); i++ {
		switch s := c.InFact(i); {
		case s.Rank() == 1 && r > 0:
			c.Link(c.In(i, 0), c.In(0, nodeAxis(c.Node(), 1, r)))
		case s.Rank() > 1:
			fixAll(c, "blocks of elements share a scale", 0, i)
		}
	}
	return nil
}

// quantizedConv infers as Conv does, with the weights at input w and the
// element type of input zero (-1: int32).
func quantizedConv(domain, name string, in op.Arity, w, zero int, extra []op.AttrSpec, lower func(lowCalc) error) *op.Def {
	d := &op.Def{
		Domain: domain, Name: name, Versions: since(10), Attrs: append(extra, conv.Attrs...), In: in, Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			d := onnxgraph.Int32
			if zero >= 0 {
				d = c.I(zero).DType()
			}
			return inferConvOf(c, w, d)
		},
		Flow: op.FlowOfLowering, Grad: integerOnly, Lower: lowers(lower),
	}
	if domain == microsoft {
		d.Versions = since(1)
	}
	return d
}

// inferConvOf infers as Conv does, with the weights at input w, for channels on
// either end, and gives the result its own element type.
func inferConvOf(c *op.InferCtx, w int, d onnxgraph.DType) error {
	plain, x := *c, c.I(0)
	last := c.Node.Int("channels_last", 0) != 0 && x.Rank() > 2
	if last {
		x = &op.Fact{Type: onnxgraph.TensorOf(x.DType(), reordering(x.Shape(), channelsFirst(x.Rank())))}
	}
	plain.In = []*op.Fact{x, c.I(w)}
	if err := conv.Infer(&plain); err != nil {
		return err
	}
	y := c.Out[0].Shape()
	if last {
		y = reordering(y, channelsLast(len(y)))
	}
	c.Set(0, d, y)
	return nil
}

// reordering is a shape with its axes in another order.
func reordering(s onnxgraph.Shape, order []int64) onnxgraph.Shape {
	out := onnxgraph.Shape{}
	for _, a := range order {
		out = append(out, s[a])
	}
	return out
}
