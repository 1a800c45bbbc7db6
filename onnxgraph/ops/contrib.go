// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// contribOps are fused operators that ONNX Runtime's exporters write for
// inference. They are inferred; nothing is permuted through them.
var contribOps = []*op.Def{
	contrib("MatMulNBits", attrs(need(aInt("K")), need(aInt("N")), aInt("accuracy_level"), aInt("bits"), need(aInt("block_size"))), op.Between(3, 6), op.Exactly(1), func(c *op.InferCtx) error {
		s := c.I(0).Shape().Clone()
		if len(s) > 0 {
			if k := c.Node.Int("K", 0); s[len(s)-1].IsKnown() && s[len(s)-1].Value != k {
				return c.Errorf("K", "%d, but input has shape %s", k, s)
			}
			s[len(s)-1] = onnxgraph.Known(c.Node.Int("N", 0))
		}
		c.Set(0, c.I(0).DType(), s)
		return nil
	}),
	contrib("EmbedLayerNormalization", attrs(aFloat("epsilon"), aInt("mask_index_type")), op.Between(7, 9), op.Between(1, 3), func(c *op.InferCtx) error {
		out := unknowns(3)
		if s := c.I(0).Shape(); len(s) == 2 {
			out[0], out[1] = s[0], s[1]
		}
		if s := c.I(2).Shape(); len(s) == 2 {
			out[2] = s[1]
		}
		c.Set(0, c.I(2).DType(), out)
		c.Set(1, onnxgraph.Int32, onnxgraph.Shape{out[0]})
		c.Set(2, c.I(2).DType(), out.Clone())
		return nil
	}),
	{
		Domain: microsoft, Name: "FusedConv", Versions: since(1), Attrs: append(attrs(aStr("activation"), aFloats("activation_params"), aInt("group")), windowAttrs...), In: op.Between(2, 4), Out: op.Exactly(1),
		Infer: conv.Infer, Grad: op.FromLowering,
		Flow: op.Flows(func(c op.FlowCtx) error {
			align(c, 3, 0) // the sum's other term
			return conv.Flow.Apply(c)
		}),
		Lower: lowers(lowerFusedConv),
	},
	{
		Domain: microsoft, Name: "FusedGemm", Versions: since(1), Attrs: attrs(aStr("activation"), aFloat("activation_alpha"), aFloat("activation_beta"), aFloat("activation_gamma"), aFloat("alpha"), aFloat("beta"), aInt("transA"), aInt("transB")),
		In: op.Between(2, 3), Out: op.Exactly(1),
		Infer: gemm.Infer, Flow: gemm.Flow, Grad: op.FromLowering,
		Lower: lowers(lowerFusedGemm),
	},
}

func contrib(name string, a []op.AttrSpec, in, out op.Arity, infer op.InferFunc) *op.Def {
	return &op.Def{
		Domain: microsoft, Name: name, Versions: since(1), Attrs: a, In: in, Out: out, Infer: infer,
		Flow: op.Opaque("fused for inference"), Grad: op.NotDifferentiable("fused for inference"), Lower: op.Primitive,
	}
}

// attributesBut are a node's attributes without those that only the fused
// operator has.
func attributesBut(n *onnxgraph.Node, spec []op.AttrSpec) []*onnxgraph.Attribute {
	var out []*onnxgraph.Attribute
	for _, a := range n.Attrs {
		for _, s := range spec {
			if s.Name == a.Name {
				out = append(out, a)
			}
		}
	}
	return out
}

// lowerFusedConv: Y = activation(Conv(X, W, B) + Z).
func lowerFusedConv(k lowCalc) error {
	n := k.Node()
	y := k.Emit("Conv", n.Inputs[:min(len(n.Inputs), 3)], attributesBut(n, conv.Attrs)...)
	if k.I(3) != "" {
		y = k.add(y, k.I(3))
	}
	params := []float32{0.01, 0}
	if a := n.Attr("activation_params"); a != nil {
		params = append(append([]float32{}, a.Floats...), params[min(len(a.Floats), 2):]...)
	}
	return k.activated(y, n.Str("activation", ""), params[0], params[1])
}

func lowerFusedGemm(k lowCalc) error {
	n := k.Node()
	y := k.Emit("Gemm", n.Inputs, attributesBut(n, gemm.Attrs)...)
	return k.activated(y, n.Str("activation", ""), n.Float("activation_alpha", 0.01), n.Float("activation_beta", 0))
}

// activated gives output 0 the named activation of y.
func (k lowCalc) activated(y, name string, alpha, beta float32) error {
	switch name {
	case "":
	case "Relu", "Sigmoid", "Tanh":
		y = k.one(name, y)
	case "LeakyRelu":
		y = k.Emit(name, []string{y}, onnxgraph.FloatAttr("alpha", alpha))
	case "HardSigmoid":
		y = k.Emit(name, []string{y}, onnxgraph.FloatAttr("alpha", alpha), onnxgraph.FloatAttr("beta", beta))
	case "Clip":
		y = k.Emit(name, []string{y, k.ScalarLike(y, float64(alpha)), k.ScalarLike(y, float64(beta))})
	default:
		return k.Errorf("activation %q has no lowering", name)
	}
	k.SetO(0, y)
	return nil
}
