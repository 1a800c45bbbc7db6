// https://onnx.ai/onnx/operators/onnx__Gemm.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var gemm = &op.Def{
	Name: "Gemm", Versions: since(1, 6, 7, 9, 11, 13), In: op.Between(2, 3), Out: op.Exactly(1),
	Attrs: attrs(aFloat("alpha"), aFloat("beta"), aInt("transA"), aInt("transB"), aInt("broadcast")),
	Infer: inferGemm, Flow: op.Flows(flowGemm), Grad: op.Gradient(gradGemm), Lower: op.Primitive,
}

func inferGemm(c *op.InferCtx) error {
	out := unknowns(2)
	inner := [2]onnxgraph.Dim{onnxgraph.UnknownDim(), onnxgraph.UnknownDim()}
	for i, attr := range []string{"transA", "transB"} {
		s := c.I(i).Shape()
		if s == nil {
			continue
		}
		if len(s) != 2 {
			return c.Errorf("", "input %d has shape %s, expected a matrix", i, s)
		}
		free := i // A is [m, k], B is [k, n]
		if c.Node.Int(attr, 0) != 0 {
			free = 1 - i
		}
		out[i], inner[i] = s[free], s[1-free]
	}
	if inner[0].IsKnown() && inner[1].IsKnown() && inner[0] != inner[1] {
		return c.Errorf("", "shapes %s and %s (transA %d, transB %d): inner extents %s and %s differ",
			c.I(0).Shape(), c.I(1).Shape(), c.Node.Int("transA", 0), c.Node.Int("transB", 0), inner[0], inner[1])
	}
	if bias := c.I(2).Shape(); bias != nil {
		s, err := broadcast(c, out, bias)
		if err != nil {
			return err
		}
		if len(s) != 2 {
			return c.Errorf("", "C has shape %s, expected one that broadcasts to %s", bias, out)
		}
	}
	c.Set(0, c.I(0).DType(), out)
	return nil
}

func flowGemm(c op.FlowCtx) error {
	if c.InFact(0).Rank() != 2 || c.InFact(1).Rank() != 2 {
		return opaque(c, "the rank is unknown")
	}
	m, n := 0, 1
	if c.Node().Int("transA", 0) != 0 {
		m = 1
	}
	if c.Node().Int("transB", 0) != 0 {
		n = 0
	}
	c.Link(c.In(0, m), c.Out(0, 0))
	c.Link(c.In(1, n), c.Out(0, 1))
	c.Contract(c.In(0, 1-m), c.In(1, 1-n))
	if c.InFact(2) != nil {
		align(c, 2, 0)
	}
	return nil
}

// gradGemm: with Y = alpha·A·B + beta·C, dA = alpha·dY·Bᵀ, dB = alpha·Aᵀ·dY
// and dC = beta·dY; the transposes are flags of Gemm.
func gradGemm(c op.GradCtx) error {
	k := calc{c}
	ta, tb := c.Node().Int("transA", 0) != 0, c.Node().Int("transB", 0) != 0
	product := func(l, r string, tl, tr bool) string {
		a := []*onnxgraph.Attribute{onnxgraph.FloatAttr("alpha", c.Node().Float("alpha", 1))}
		if tl {
			a = append(a, onnxgraph.IntAttr("transA", 1))
		}
		if tr {
			a = append(a, onnxgraph.IntAttr("transB", 1))
		}
		return c.Emit("Gemm", []string{l, r}, a...)
	}
	if c.Needs(0) {
		if ta {
			c.SetGI(0, product(c.I(1), c.GO(0), tb, true))
		} else {
			c.SetGI(0, product(c.GO(0), c.I(1), false, !tb))
		}
	}
	if c.Needs(1) {
		if tb {
			c.SetGI(1, product(c.GO(0), c.I(0), true, ta))
		} else {
			c.SetGI(1, product(c.I(0), c.GO(0), !ta, false))
		}
	}
	if c.Needs(2) {
		c.SetGI(2, k.scale(c.GO(0), float64(c.Node().Float("beta", 1))))
	}
	return nil
}
