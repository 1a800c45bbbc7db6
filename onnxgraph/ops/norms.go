// https://onnx.ai/onnx/operators/onnx__LpNormalization.html,
// MeanVarianceNormalization, LRN, Hardmax

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// otherNorms scale a tensor by its own size.
var otherNorms = []*op.Def{
	{
		Name: "LpNormalization", Versions: since(1, 22), Attrs: attrs(aInt("axis"), aInt("p")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: inferAlong(-1), Flow: op.Elementwise(), Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			x, axis := k.I(0), k.Node().Int("axis", -1)
			// Nothing but zeros stays so. The divisor is 1 there before the root is
			// taken, which has no derivative at 0.
			nonzero := func(v string) string {
				return k.where(k.two("Equal", v, k.ScalarLike(v, 0)), k.ScalarLike(v, 1), v)
			}
			switch p := k.Node().Int("p", 2); p {
			case 1:
				k.SetO(0, k.div(x, nonzero(k.sum(k.one("Abs", x), true, axis))))
			case 2:
				k.SetO(0, k.div(x, k.one("Sqrt", nonzero(k.sum(k.square(x), true, axis)))))
			default:
				return k.Errorf("p is %d, expected 1 or 2", p)
			}
			return nil
		}),
	},
	{
		Name: "MeanVarianceNormalization", Versions: since(9, 13), Attrs: attrs(aInts("axes")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: inferLike, Flow: op.Elementwise(), Grad: op.FromLowering,
		Lower: lowers(out0(func(k lowCalc) string {
			axes := k.Node().Ints("axes")
			if axes == nil {
				axes = []int64{0, 2, 3}
			}
			x := k.I(0)
			centred := k.sub(x, k.reduce("ReduceMean", x, true, axes...))
			deviation := k.one("Sqrt", k.reduce("ReduceMean", k.square(centred), true, axes...))
			return k.div(centred, k.add(deviation, k.ScalarLike(x, 1e-9)))
		})),
	},
	{
		Name: "LRN", Versions: since(1, 13), Attrs: attrs(aFloat("alpha"), aFloat("beta"), aFloat("bias"), need(aInt("size"))), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: inferChannels,
		Flow: op.Flows(func(c op.FlowCtx) error {
			align(c, 0, 0)
			if c.InFact(0).Rank() > 1 {
				c.Fix(c.In(0, 1), "neighbouring channels are normalized together")
			}
			return nil
		}),
		Grad: op.FromLowering, Lower: lowers(lowerLRN),
	},
	{
		Name: "Hardmax", Versions: since(1, 11, 13), Attrs: attrs(aInt("axis")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: inferLike,
		// Equal elements are rare enough: the first of them is marked.
		Flow: op.Elementwise(), Grad: op.ZeroGrad, Lower: op.Primitive,
	},
}

// inferAlong: like the input, whose rank must have the attribute axis.
func inferAlong(def int64) op.InferFunc {
	return func(c *op.InferCtx) error {
		if r := c.I(0).Rank(); r >= 0 {
			if _, err := c.Axis(c.Node.Int("axis", def), r); err != nil {
				return err
			}
		}
		return inferLike(c)
	}
}

// lowerLRN is x/(bias + alpha/size·Σx²)^beta, the sum over size channels
// around each: slices of the padded squares.
func lowerLRN(k lowCalc) error {
	x, n := k.I(0), k.Node()
	s, size := k.Fact(x).Shape(), n.Int("size", 1)
	if len(s) < 2 || !s[1].IsKnown() || size < 1 {
		return k.Errorf("input of shape %s, expected a known number of channels", s)
	}
	pads := make([]int64, 2*len(s))
	pads[1], pads[len(s)+1] = (size-1)/2, size/2
	squares := k.padZeros(k.square(x), pads)
	var parts []string
	for i := range size {
		parts = append(parts, k.slice(squares, 1, i, i+s[1].Value))
	}
	sum := k.Emit("Sum", parts)
	base := k.add(k.scale(sum, float64(n.Float("alpha", 1e-4))/float64(size)), k.ScalarLike(x, float64(n.Float("bias", 1))))
	k.SetO(0, k.div(x, k.two("Pow", base, k.ScalarLike(x, float64(n.Float("beta", 0.75))))))
	return nil
}

// skipNorms add before they normalize, as transformers do:
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
var skipNorms = []*op.Def{
	skipNorm("SkipLayerNormalization", op.Between(3, 5), 3, 4), skipNorm("SkipSimplifiedLayerNormalization", op.Between(3, 4), -1, 3),
}

// skipNorm has the inputs x, skip, scale, and at the given places a shift
// (-1: none) and the bias of the sum. Outputs: y, mean, 1/σ, the sum.
func skipNorm(name string, in op.Arity, shift, bias int) *op.Def {
	return &op.Def{
		Domain: microsoft, Name: name, Versions: since(1), Attrs: attrs(aFloat("epsilon")), In: in, Out: op.Between(1, 4),
		Infer: func(c *op.InferCtx) error {
			s := c.I(0).Shape()
			c.Set(0, c.I(0).DType(), s.Clone())
			c.Set(3, c.I(0).DType(), s.Clone())
			stats := s.Clone()
			if len(stats) > 0 {
				stats[len(stats)-1] = onnxgraph.Known(1)
			}
			c.Set(1, onnxgraph.Float, stats)
			c.Set(2, onnxgraph.Float, stats.Clone())
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			for i := range c.Node().Inputs {
				align(c, i, 0)
			}
			for a := range max(c.OutFact(3).Rank(), 0) {
				c.Link(c.In(0, a), c.Out(3, a))
			}
			for _, o := range []int{1, 2} {
				for a := range max(c.OutFact(o).Rank()-1, 0) {
					c.Link(c.In(0, a), c.Out(o, a))
				}
			}
			return nil
		}),
		Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			sum := k.add(k.I(0), k.I(1))
			if k.I(bias) != "" {
				sum = k.add(sum, k.I(bias))
			}
			k.SetO(3, sum)
			centred := sum
			if shift >= 0 {
				mean := k.reduce("ReduceMean", sum, true, -1)
				k.SetO(1, mean)
				centred = k.sub(sum, mean)
			}
			eps := k.ScalarLike(sum, float64(k.Node().Float("epsilon", 1e-12)))
			inv := k.inverseRoot(k.add(k.reduce("ReduceMean", k.square(centred), true, -1), eps))
			k.SetO(2, inv)
			y := k.mul(k.mul(centred, inv), k.I(2))
			if shift >= 0 && k.I(shift) != "" {
				y = k.add(y, k.I(shift))
			}
			k.SetO(0, y)
			return nil
		}),
	}
}
