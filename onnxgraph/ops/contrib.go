// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// contribOps are fused operators that ONNX Runtime's optimizer and exporters
// write.
var contribOps = []*op.Def{
	{
		Domain: microsoft, Name: "MatMulNBits", Versions: since(1), Attrs: attrs(need(aInt("K")), need(aInt("N")), aInt("accuracy_level"), aInt("bits"), need(aInt("block_size")), aInt("weight_prepacked")),
		In: op.Between(3, 6), Out: op.Exactly(1), Infer: inferMatMulNBits,
		Flow: op.FlowOfLowering, Grad: integerOnly, Lower: lowers(lowerMatMulNBits),
	},
	{
		Domain: microsoft, Name: "EmbedLayerNormalization", Versions: since(1), Attrs: attrs(aFloat("epsilon"), aInt("mask_index_type")),
		In: op.Between(1, 9), Out: op.Between(1, 3), Infer: inferEmbedding,
		Flow: op.FlowOfLowering, Grad: op.FromLowering, Lower: lowers(lowerEmbedding),
	},
	{
		Domain: microsoft, Name: "ExpandDims", Versions: since(1), In: op.Exactly(2), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			plain := *c
			plain.Opset = 13
			return unsqueeze.Infer(&plain)
		},
		Flow: op.FlowOfLowering, Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			axis, ok := k.Fact(k.I(1)).Ints()
			if !ok || len(axis) != 1 {
				return k.Errorf("the axis is not known")
			}
			k.SetO(0, k.unsqueeze(k.I(0), axis[0]))
			return nil
		}),
	},
	{
		Domain: microsoft, Name: "BiasAdd", Versions: since(1), In: op.Exactly(3), Out: op.Exactly(1),
		Infer: inferLike, Flow: op.Elementwise(), Grad: op.FromLowering,
		Lower: lowers(out0(func(k lowCalc) string { return k.add(k.add(k.I(0), k.I(1)), k.I(2)) })),
	},
	{
		Domain: microsoft, Name: "FusedMatMulActivation", Versions: since(1), In: op.Exactly(2), Out: op.Exactly(1),
		Attrs: attrs(need(aStr("activation")), aFloat("activation_alpha"), aInt("activation_axis"), aFloat("activation_beta"), aFloat("activation_gamma"), aFloat("alpha"), aInt("transA"), aInt("transB"), aInt("transBatchA"), aInt("transBatchB")),
		Infer: inferFusedMatMul, Flow: op.FlowOfLowering, Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			y, err := fusedProduct(k)
			if err != nil {
				return err
			}
			n := k.Node()
			return k.activated(y, n.Str("activation", ""), n.Float("activation_alpha", 0.01), n.Float("activation_beta", 0))
		}),
	},
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

func inferMatMulNBits(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if len(s) > 0 {
		if k := c.Node.Int("K", 0); s[len(s)-1].IsKnown() && s[len(s)-1].Value != k {
			return c.Errorf("K", "%d, but input has shape %s", k, s)
		}
		s[len(s)-1] = onnxgraph.Known(c.Node.Int("N", 0))
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// lowerMatMulNBits: weights [N, blocks, bytes] hold the rows in blocks, each
// with a scale and a zero point.
func lowerMatMulNBits(k lowCalc) error {
	n := k.Node()
	bits, size, rows, columns := n.Int("bits", 4), n.Int("block_size", 0), n.Int("N", 0), n.Int("K", 0)
	switch {
	case bits != 2 && bits != 4 && bits != 8:
		return k.Errorf("weights of %d bits, expected 2, 4 or 8", bits)
	case size < 1 || rows < 1 || columns < 1:
		return k.Errorf("block_size, N and K are %d, %d and %d, expected at least 1", size, rows, columns)
	case k.I(4) != "" || n.Int("weight_prepacked", 0) != 0:
		return k.Errorf("groups by index and prepacked weights have no lowering")
	}
	blocks := (columns + size - 1) / size
	d := k.Fact(k.I(0)).DType()
	zero := k.ScalarLike(k.I(0), float64(int64(1)<<(bits-1)))
	if z := k.I(3); z != "" {
		if k.Fact(z).DType() == onnxgraph.Uint8 {
			z = k.slice(k.unpackBits(k.reshape(z, rows, -1), bits, rows), 1, 0, blocks)
		}
		zero = k.reshape(k.cast(z, d), rows, blocks, 1)
	}
	w := k.reshape(k.unpackBits(k.reshape(k.I(1), rows, -1), bits, rows), rows, blocks, size)
	w = k.mul(k.sub(k.cast(w, d), zero), k.reshape(k.cast(k.I(2), d), rows, blocks, 1))
	w = k.slice(k.reshape(w, rows, -1), 1, 0, columns)
	k.SetO(0, k.plus(k.two("MatMul", k.I(0), k.transpose(w, 1, 0)), k.I(5)))
	return nil
}

// unpackBits takes bytes [rows, n] apart into numbers of some bits, the lowest
// first.
func (k calc) unpackBits(x string, bits, rows int64) string {
	x = k.cast(x, onnxgraph.Int32)
	if bits == 8 {
		return x
	}
	var parts []string
	base := k.ScalarLike(x, float64(int64(1)<<bits))
	for at := int64(0); at < 8; at += bits {
		shifted := x
		if at > 0 {
			shifted = k.div(x, k.ScalarLike(x, float64(int64(1)<<at)))
		}
		parts = append(parts, k.unsqueeze(k.two("Mod", shifted, base), 2))
	}
	return k.reshape(k.join(2, parts...), rows, -1)
}

// Inputs of EmbedLayerNormalization.
const (
	embedTokens = iota
	embedSegments
	embedWordTable
	embedPlaceTable
	embedSegmentTable
	embedScale
	embedShift
	embedMask
	embedPlaces
)

func inferEmbedding(c *op.InferCtx) error {
	if err := required(c, embedWordTable, embedPlaceTable, embedScale, embedShift); err != nil {
		return err
	}
	out := unknowns(3)
	if s := c.I(embedTokens).Shape(); len(s) == 2 {
		out[0], out[1] = s[0], s[1]
	}
	if s := c.I(embedWordTable).Shape(); len(s) == 2 {
		out[2] = s[1]
	}
	d := c.I(embedWordTable).DType()
	c.Set(0, d, out)
	c.Set(1, onnxgraph.Int32, onnxgraph.Shape{out[0]})
	c.Set(2, d, out.Clone())
	return nil
}

// lowerEmbedding normalizes the sum of the embeddings of words, places and
// segments; output 1 counts the tokens that the mask leaves.
func lowerEmbedding(k lowCalc) error {
	row := func(table, at string) string {
		return k.Emit("Gather", []string{table, at}, onnxgraph.IntAttr("axis", 0))
	}
	tokens := k.I(embedTokens)
	if k.Fact(tokens).Rank() != 2 {
		return k.Errorf("tokens of shape %s, expected samples and places", k.Fact(tokens).Shape())
	}
	places := k.I(embedPlaces)
	if places == "" {
		places = k.count(tokens, 1)
	}
	sum := k.add(row(k.I(embedWordTable), tokens), row(k.I(embedPlaceTable), places))
	if k.I(embedSegments) != "" {
		sum = k.add(sum, row(k.I(embedSegmentTable), k.I(embedSegments)))
	}
	centred := k.sub(sum, k.reduce("ReduceMean", sum, true, -1))
	eps := k.ScalarLike(sum, float64(k.Node().Float("epsilon", 1e-12)))
	inverse := k.inverseRoot(k.add(k.reduce("ReduceMean", k.square(centred), true, -1), eps))
	k.SetO(0, k.add(k.mul(k.mul(centred, inverse), k.I(embedScale)), k.I(embedShift)))
	if k.HasO(1) {
		if mask := k.I(embedMask); mask != "" {
			k.SetO(1, k.cast(k.sum(k.cast(mask, onnxgraph.Int32), false, 1), onnxgraph.Int32))
		} else {
			k.SetO(1, k.cast(k.zeros(k.dimOf(tokens, 0), onnxgraph.Int64), onnxgraph.Int32))
		}
	}
	if k.HasO(2) {
		k.SetO(2, sum)
	}
	return nil
}
