// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// contribQuantized are com.microsoft's operators on quantized numbers. Those
// that begin with QLinear compute on what their inputs stand for and quantize
// the result.
var contribQuantized = []*op.Def{
	quantizedContrib("QuantizeLinear", attrs(aInt("axis")), op.Between(2, 3), func(c *op.InferCtx) error {
		d := onnxgraph.Uint8
		if c.I(2) != nil {
			d = c.I(2).DType()
		}
		c.Set(0, d, c.I(0).Shape().Clone())
		return nil
	}, func(k lowCalc) error {
		k.SetO(0, k.Emit("QuantizeLinear", k.Node().Inputs, k.Node().Attrs...))
		return nil
	}),
	qlinearPair("QLinearAdd", "Add"), qlinearPair("QLinearMul", "Mul"),
	qlinearOne("QLinearSigmoid", nil, func(k lowCalc, x string) (string, error) { return k.one("Sigmoid", x), nil }),
	qlinearOne("QLinearLeakyRelu", attrs(aFloat("alpha")), func(k lowCalc, x string) (string, error) {
		return k.Emit("LeakyRelu", []string{x}, onnxgraph.FloatAttr("alpha", k.Node().Float("alpha", 0.01))), nil
	}),
	qlinearOne("QLinearSoftmax", attrs(aInt("axis"), need(aInt("opset"))), qlinearSoftmax),
	{
		Domain: microsoft, Name: "QLinearGlobalAveragePool", Versions: since(1), Attrs: attrs(aInt("channels_last")), In: op.Exactly(5), Out: op.Exactly(1),
		Infer: inferQLinearPool, Flow: op.FlowOfLowering, Grad: integerOnly,
		Lower: lowers(func(k lowCalc) error {
			r := k.Fact(k.I(0)).Rank()
			if r < 3 {
				return k.Errorf("the rank of the input is not known")
			}
			axes := upTo(2, r)
			if k.Node().Int("channels_last", 0) != 0 {
				axes = upTo(1, r-1)
			}
			k.setQuantized(k.reduce("ReduceMean", k.quantized(0, 1), true, axes...), 3)
			return nil
		}),
	},
	{
		Domain: microsoft, Name: "QLinearConcat", Versions: since(1), Attrs: attrs(need(aInt("axis"))), In: op.AtLeast(5), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			plain := *c
			plain.In, plain.Node = nil, &onnxgraph.Node{Name: c.Node.Name, OpType: "Concat", Attrs: c.Node.Attrs, Outputs: c.Node.Outputs}
			for i := 2; i < len(c.In); i += 3 {
				plain.In = append(plain.In, c.I(i))
				plain.Node.Inputs = append(plain.Node.Inputs, c.Node.Input(i))
			}
			if err := concat.Infer(&plain); err != nil {
				return err
			}
			*c.Out[0] = op.Fact{Type: onnxgraph.TensorOf(c.I(1).DType(), c.Out[0].Shape())}
			return nil
		},
		Flow: op.FlowOfLowering, Grad: integerOnly,
		Lower: lowers(func(k lowCalc) error {
			var parts []string
			for i := 2; i+2 < len(k.Node().Inputs); i += 3 {
				parts = append(parts, k.quantized(i, 0))
			}
			k.setQuantized(k.Emit("Concat", parts, k.Node().Attrs...), 0)
			return nil
		}),
	},
	quantizedContrib("QLinearWhere", nil, op.Exactly(9), func(c *op.InferCtx) error {
		s, err := broadcast(c, c.I(0).Shape(), c.I(1).Shape(), c.I(4).Shape())
		c.Set(0, c.I(8).DType(), s)
		return err
	}, func(k lowCalc) error {
		k.setQuantized(k.where(k.I(0), k.quantized(1, 0), k.quantized(4, 0)), 7)
		return nil
	}),
	quantizedConv(microsoft, "QLinearConv", op.Between(8, 9), 3, 7, attrs(aInt("channels_last")), lowerQLinearConv),
	quantizedContrib("QGemm", attrs(aFloat("alpha"), aInt("transA"), aInt("transB")), op.Between(6, 9), inferQGemm, lowerQGemm),
	quantizedContrib("MatMulIntegerToFloat", nil, op.Between(4, 7), func(c *op.InferCtx) error {
		s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
		c.Set(0, c.I(2).DType(), s)
		return err
	}, func(k lowCalc) error {
		y := k.two("MatMul", k.dequantize(k.I(0), k.I(2), k.I(4), -2), k.dequantize(k.I(1), k.I(3), k.I(5), -1))
		k.SetO(0, k.plus(y, k.I(6)))
		return nil
	}),
	quantizedContrib("MatMulInteger16", nil, op.Exactly(2), func(c *op.InferCtx) error {
		s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
		c.Set(0, onnxgraph.Int32, s)
		return err
	}, func(k lowCalc) error {
		k.SetO(0, k.two("MatMul", k.cast(k.I(0), onnxgraph.Int32), k.cast(k.I(1), onnxgraph.Int32)))
		return nil
	}),
	quantizedContrib("DynamicQuantizeMatMul", nil, op.Between(3, 5), func(c *op.InferCtx) error {
		s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
		c.Set(0, c.I(0).DType(), s)
		return err
	}, lowerDynamicMatMul),
	{
		Domain: microsoft, Name: "DynamicQuantizeLSTM", Versions: since(1), Attrs: append(attrs(aInt("input_forget")), rnnAttrs...), In: op.Between(3, 12), Out: op.Between(0, 3),
		Infer: inferQuantizedLSTM, Flow: op.Flows(flowQuantizedLSTM), Grad: integerOnly, Lower: op.Primitive,
	},
}

func quantizedContrib(name string, a []op.AttrSpec, in op.Arity, infer op.InferFunc, lower func(lowCalc) error) *op.Def {
	return &op.Def{
		Domain: microsoft, Name: name, Versions: since(1), Attrs: a, In: in, Out: op.Exactly(1),
		Infer: infer, Flow: op.FlowOfLowering, Grad: integerOnly, Lower: lowers(lower),
	}
}

// qlinearPair has the inputs A, B and C, each with scale and zero point.
func qlinearPair(name, opType string) *op.Def {
	return quantizedContrib(name, nil, op.Between(1, 8), func(c *op.InferCtx) error {
		if err := required(c, 1, 3, 4, 6); err != nil {
			return err
		}
		s, err := broadcast(c, c.I(0).Shape(), c.I(3).Shape())
		c.Set(0, c.I(0).DType(), s)
		return err
	}, func(k lowCalc) error {
		k.setQuantized(k.two(opType, k.quantized(0, 0), k.quantized(3, 0)), 6)
		return nil
	})
}

// qlinearOne has the inputs X and Y, each with scale and zero point.
func qlinearOne(name string, a []op.AttrSpec, of func(k lowCalc, x string) (string, error)) *op.Def {
	return quantizedContrib(name, a, op.Between(1, 5), func(c *op.InferCtx) error {
		if err := required(c, 1, 3); err != nil {
			return err
		}
		return inferLike(c)
	}, func(k lowCalc) error {
		y, err := of(k, k.quantized(0, 0))
		if err != nil {
			return err
		}
		k.setQuantized(y, 3)
		return nil
	})
}

// qlinearSoftmax has the meaning of Softmax in the opset it names: before 13
// over all axes from one on.
func qlinearSoftmax(k lowCalc, x string) (string, error) {
	axis, r := k.Node().Int("axis", -1), int64(k.Fact(x).Rank())
	if r >= 0 && axis < 0 {
		axis += r
	}
	if k.Node().Int("opset", 13) < 13 && axis != r-1 {
		return "", k.Errorf("softmax over several axes has no lowering")
	}
	return k.Emit("Softmax", []string{x}, onnxgraph.IntAttr("axis", axis)), nil
}

func inferQLinearPool(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	positions := s[min(2, len(s)):]
	if c.Node.Int("channels_last", 0) != 0 && len(s) > 1 {
		positions = s[1 : len(s)-1]
	}
	for a := range positions {
		positions[a] = onnxgraph.Known(1)
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// inferQGemm: without a scale of the result that is float.
func inferQGemm(c *op.InferCtx) error {
	plain := *c
	plain.In = []*op.Fact{c.I(0), c.I(3)}
	if err := gemm.Infer(&plain); err != nil {
		return err
	}
	d := onnxgraph.Float
	if c.I(8) != nil {
		d = c.I(8).DType()
	}
	c.Set(0, d, c.Out[0].Shape())
	return nil
}

// lowerQGemm: the bias C has the scale of the products.
func lowerQGemm(k lowCalc) error {
	n := k.Node()
	columns := int64(1)
	if n.Int("transB", 0) != 0 {
		columns = 0
	}
	alpha := n.Float("alpha", 1)
	y := k.Emit("Gemm", []string{k.quantized(0, 0), k.quantized(3, columns)},
		onnxgraph.FloatAttr("alpha", alpha), onnxgraph.IntAttr("transA", n.Int("transA", 0)), onnxgraph.IntAttr("transB", n.Int("transB", 0)))
	if k.I(6) != "" {
		scale := k.scale(k.mul(k.scalar(k.I(1)), k.scalar(k.I(4))), float64(alpha))
		y = k.add(y, k.mul(k.cast(k.I(6), onnxgraph.Float), scale))
	}
	k.setQuantized(y, 7)
	return nil
}

// lowerDynamicMatMul quantizes the first operand by its own extremes.
func lowerDynamicMatMul(k lowCalc) error {
	a := k.EmitN("DynamicQuantizeLinear", []string{k.I(0)}, 3)
	in := []string{a[0], k.I(1), a[2]}
	if k.I(3) != "" {
		in = append(in, k.scalar(k.I(3)))
	}
	sum := k.cast(k.Emit("MatMulInteger", in), onnxgraph.Float)
	k.SetO(0, k.plus(k.mul(sum, k.mul(a[1], k.scalar(k.I(2)))), k.I(4)))
	return nil
}

// plus adds an optional value.
func (k lowCalc) plus(x, y string) string {
	if y == "" {
		return x
	}
	return k.add(x, y)
}

// inferQuantizedLSTM: W [D,I,4H] and R [D,H,4H] are transposed here.
func inferQuantizedLSTM(c *op.InferCtx) error {
	plain := *c
	plain.In = slices.Clone(c.In)
	for i := 1; i <= 2 && i < len(c.In); i++ {
		plain.In[i] = turned(c.I(i))
	}
	return inferRNN(&plain, 4)
}

// turned is a fact with the last two of three axes exchanged.
func turned(f *op.Fact) *op.Fact {
	out := &op.Fact{Type: onnxgraph.TensorOf(f.DType(), nil)}
	if s := f.Shape(); len(s) == 3 {
		out.Type.Shape = onnxgraph.Shape{s[0], s[2], s[1]}
	}
	return out
}

// turnedWeights shows W and R of a quantized LSTM as those of a plain one.
type turnedWeights struct{ op.FlowCtx }

func (c turnedWeights) InFact(i int) *op.Fact {
	if f := c.FlowCtx.InFact(i); f != nil && (i == 1 || i == 2) {
		return turned(f)
	}
	return c.FlowCtx.InFact(i)
}

func (c turnedWeights) In(i, a int) op.Axis {
	if (i == 1 || i == 2) && a > 0 {
		a = 3 - a
	}
	return c.FlowCtx.In(i, a)
}

// flowQuantizedLSTM: like LSTM; scales and zero points [D] or [D,4H] follow
// the rows that they scale.
func flowQuantizedLSTM(c op.FlowCtx) error {
	w := turnedWeights{c}
	if w.InFact(1).Rank() != 3 || w.InFact(2).Rank() != 3 || c.InFact(0).Rank() != 3 {
		return opaque(c, "the rank of an input is not known")
	}
	hidden := w.InFact(2).Shape()[2]
	rows := c.Segment(w.In(2, 1), gateSizes(4, hidden)...)
	for i := 8; i < 12; i++ {
		f := c.InFact(i)
		if f.Rank() > 0 {
			c.Link(c.In(i, 0), w.In(1, 0))
		}
		if f.Rank() == 2 {
			for g, part := range c.Segment(c.In(i, 1), gateSizes(4, hidden)...) {
				c.Link(part, rows[g])
			}
		}
	}
	return flowRNN(w, 4)
}
