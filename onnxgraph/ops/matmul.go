// https://onnx.ai/onnx/operators/onnx__MatMul.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var matMul = &op.Def{
	Name: "MatMul", Versions: since(1, 9, 13), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: inferMatMul, Flow: op.Flows(flowMatMul), Grad: op.Gradient(gradMatMul), Lower: op.Primitive,
}

func inferMatMul(c *op.InferCtx) error {
	s, err := matMulShape(c, c.I(0).Shape(), c.I(1).Shape())
	if err != nil {
		return err
	}
	c.Set(0, c.I(0).DType(), s)
	return nil
}

// matMulShape is the shape of a product with NumPy's rules, nil where a rank
// is unknown.
func matMulShape(c *op.InferCtx, a, b onnxgraph.Shape) (onnxgraph.Shape, error) {
	if a == nil || b == nil {
		return nil, nil
	}
	if len(a) == 0 || len(b) == 0 {
		return nil, c.Errorf("", "shapes %s and %s: a scalar cannot be multiplied", a, b)
	}
	ka := a[len(a)-1]
	kb := b[max(len(b)-2, 0)]
	if ka.IsKnown() && kb.IsKnown() && ka != kb {
		return nil, c.Errorf("", "shapes %s and %s: inner extents %s and %s differ", a, b, ka, kb)
	}
	out, err := broadcast(c, a[:max(len(a)-2, 0)], b[:max(len(b)-2, 0)])
	if err != nil {
		return nil, err
	}
	out = out.Clone()
	if len(a) > 1 {
		out = append(out, a[len(a)-2])
	}
	if len(b) > 1 {
		out = append(out, b[len(b)-1])
	}
	return out, nil
}

func flowMatMul(c op.FlowCtx) error {
	a, b, y := c.InFact(0).Rank(), c.InFact(1).Rank(), c.OutFact(0).Rank()
	if a < 1 || b < 1 || y < 0 {
		return opaque(c, "the rank is unknown")
	}
	c.Contract(c.In(0, -1), c.In(1, max(b-2, 0)))
	tail := 0 // output axes that come from the matrices
	if b > 1 {
		tail++
		c.Link(c.In(1, -1), c.Out(0, -tail))
	}
	if a > 1 {
		tail++
		c.Link(c.In(0, -2), c.Out(0, -tail))
	}
	for i := 3; i <= max(a, b); i++ {
		if i <= a {
			c.Link(c.In(0, -i), c.Out(0, -tail-i+2))
		}
		if i <= b {
			c.Link(c.In(1, -i), c.Out(0, -tail-i+2))
		}
	}
	return nil
}

func gradMatMul(c op.GradCtx) error {
	k := calc{c}
	a, b, dy := c.I(0), c.I(1), c.GO(0)
	ra, rb := c.Fact(a).Rank(), c.Fact(b).Rank()
	if ra < 1 || rb < 1 {
		return c.Errorf("the rank of an input is unknown")
	}
	// Vectors become matrices first: a row on the left, a column on the right.
	am, bm := a, b
	if rb == 1 {
		bm, dy = k.unsqueeze(b, 1), k.unsqueeze(dy, -1)
	}
	if ra == 1 {
		am, dy = k.unsqueeze(a, 0), k.unsqueeze(dy, -2)
	}
	if c.Needs(0) {
		g := k.two("MatMul", dy, k.swapLast(bm))
		if ra == 1 {
			g = k.squeeze(g, -2)
		}
		c.SetGI(0, g)
	}
	if !c.Needs(1) {
		return nil
	}
	if rb <= 2 {
		// A matrix shared by a batch: one product over all rows instead of a
		// batch of products that are then summed.
		g := k.Emit("Gemm", []string{k.rows(am), k.rows(dy)}, onnxgraph.IntAttr("transA", 1))
		if rb == 1 {
			g = k.squeeze(g, 1)
		}
		c.SetGI(1, g)
		return nil
	}
	c.SetGI(1, k.two("MatMul", k.swapLast(am), dy))
	return nil
}

// swapLast exchanges the last two axes.
func (k calc) swapLast(x string) string {
	n := k.Fact(x).Rank()
	perm := upTo(0, n)
	perm[n-1], perm[n-2] = perm[n-2], perm[n-1]
	return k.transpose(x, perm...)
}

// rows flattens all axes but the last into one.
func (k calc) rows(x string) string {
	s := k.Fact(x).Shape()
	if len(s) == 2 {
		return x
	}
	if last := s[len(s)-1]; last.IsKnown() && last.Value > 0 {
		return k.reshape(x, -1, last.Value)
	}
	return k.Emit("Flatten", []string{x}, onnxgraph.IntAttr("axis", int64(len(s)-1)))
}
