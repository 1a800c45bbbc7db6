// https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html and
// DequantizeLinear, DynamicQuantizeLinear, MatMulInteger, ConvInteger,
// QLinearConv, QLinearMatMul; and of com.microsoft:
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"slices"

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
		Flow: op.Opaque("quantized"), Grad: integerOnly, Lower: op.Primitive,
	},
	quantizedConv("ConvInteger", op.Between(2, 4), 1, -1), quantizedConv("QLinearConv", op.Between(8, 9), 3, 7),
	{
		Domain: microsoft, Name: "MatMulIntegerToFloat", Versions: since(1), In: op.Between(4, 7), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
			c.Set(0, c.I(2).DType(), s)
			return err
		},
		Flow: op.Opaque("quantized"), Grad: integerOnly, Lower: op.Primitive,
	},
	{
		Domain: microsoft, Name: "DynamicQuantizeMatMul", Versions: since(1), In: op.Between(3, 5), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
			c.Set(0, c.I(0).DType(), s)
			return err
		},
		Flow: op.Opaque("quantized"), Grad: integerOnly, Lower: op.Primitive,
	},
	{
		Domain: microsoft, Name: "DynamicQuantizeLSTM", Versions: since(1), Attrs: append(attrs(aInt("input_forget")), rnnAttrs...), In: op.Between(3, 12), Out: op.Between(0, 3),
		Infer: inferQuantizedLSTM,
		Flow:  op.Opaque("quantized"), Grad: integerOnly, Lower: op.Primitive,
	},
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
func quantizedConv(name string, in op.Arity, w, zero int) *op.Def {
	return &op.Def{
		Name: name, Versions: since(10), Attrs: slices.Clone(conv.Attrs), In: in, Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			plain := *c
			plain.In = []*op.Fact{c.I(0), c.I(w)}
			if err := conv.Infer(&plain); err != nil {
				return err
			}
			d := onnxgraph.Int32
			if zero >= 0 {
				d = c.I(zero).DType()
			}
			c.Set(0, d, c.Out[0].Shape())
			return nil
		},
		Flow: op.Opaque("quantized"), Grad: integerOnly, Lower: op.Primitive,
	}
}

// inferQuantizedLSTM: W [D,I,4H] and R [D,H,4H] are transposed here.
func inferQuantizedLSTM(c *op.InferCtx) error {
	plain := *c
	plain.In = slices.Clone(c.In)
	for _, i := range []int{1, 2} {
		f := &op.Fact{Type: onnxgraph.TensorOf(onnxgraph.Int8, nil)}
		if s := c.I(i).Shape(); len(s) == 3 {
			f.Type.Shape = onnxgraph.Shape{s[0], s[2], s[1]}
		}
		plain.In[i] = f
	}
	return inferRNN(&plain, 4)
}
