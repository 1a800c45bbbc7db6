// https://onnx.ai/onnx/operators/onnx__CumSum.html
// https://onnx.ai/onnx/operators/onnx__CumProd.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var cumSum = cumulative("CumSum", since(11, 14), op.Gradient(func(c op.GradCtx) error {
	n := c.Node()
	c.SetGI(0, accumulated(calc{c}, c.GO(0), n.Int("exclusive", 0), 1-n.Int("reverse", 0)))
	return nil
}))

var cumProd = cumulative("CumProd", since(26), op.Gradient(gradCumProd))

// cumulative combines each element along an axis, input 1, with those before
// it.
func cumulative(name string, versions []int64, grad op.Grad) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: attrs(aInt("exclusive"), aInt("reverse")), In: op.Exactly(2), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if v, ok := intsOf(c.I(1)); ok && len(v) == 1 && c.I(0).Rank() > 0 {
				if _, err := c.Axis(v[0], c.I(0).Rank()); err != nil {
					return err
				}
			}
			return inferLike(c)
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			v, ok := intsOf(c.InFact(1))
			if !ok || len(v) != 1 || c.InFact(0).Rank() < 1 {
				return opaque(c, "the axis is computed")
			}
			align(c, 0, 0)
			c.Fix(c.In(0, int(v[0])), "is combined in order")
			return nil
		}),
		Grad: grad, Lower: op.Primitive,
	}
}

// accumulated sums x up along the node's axis.
func accumulated(k calc, x string, exclusive, reverse int64) string {
	return k.Emit("CumSum", []string{x, k.I(1)}, onnxgraph.IntAttr("exclusive", exclusive), onnxgraph.IntAttr("reverse", reverse))
}

// gradCumProd: the products that x takes part in, each without x. Behind a
// zero all products are zero, but for the derivative by the first zero itself:
// there x counts as 1 instead.
func gradCumProd(c op.GradCtx) error {
	k, x := calc{c}, c.I(0)
	exclusive, reverse := c.Node().Int("exclusive", 0), c.Node().Int("reverse", 0)
	gathered := func(products string) string {
		return accumulated(k, k.mul(c.GO(0), products), exclusive, 1-reverse)
	}
	zero := k.two("Equal", x, k.ScalarLike(x, 0))
	one := k.ScalarLike(x, 1)
	elsewhere := k.div(gathered(c.O(0)), k.where(zero, one, x))
	zeros := k.mask(zero, x)
	first := k.two("And", zero, k.two("Equal", accumulated(k, zeros, 0, reverse), one))
	products := k.Emit("CumProd", []string{k.where(first, one, x), c.I(1)}, onnxgraph.IntAttr("exclusive", exclusive), onnxgraph.IntAttr("reverse", reverse))
	c.SetGI(0, k.where(zero, k.mul(k.mask(first, x), gathered(products)), elsewhere))
	return nil
}
