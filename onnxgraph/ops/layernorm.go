// https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
// https://onnx.ai/onnx/operators/onnx__RMSNormalization.html
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// layerNormOps normalize over the axes from axis on, with or without taking
// the mean away.
var layerNormOps = []*op.Def{
	{
		Name: "LayerNormalization", Versions: since(1, 17), Attrs: layerNormAttrs,
		In: op.Between(2, 3), Out: op.Between(1, 3),
		Infer: func(c *op.InferCtx) error { return inferLayerNorm(c, 1, 2) },
		Flow:  op.Flows(func(c op.FlowCtx) error { return flowLayerNorm(c, 1, 2) }),
		Grad: op.Gradient(func(c op.GradCtx) error {
			return gradLayerNorm(c, layerNormArgs{mean: c.Output(1), inv: c.Output(2)})
		}),
		Lower: lowers(func(k lowCalc) error { return lowerLayerNorm(k, true, 1, 2) }),
	},
	inDefaultDomain(&op.Def{
		Name: "SimplifiedLayerNormalization", Versions: since(1), Attrs: layerNormAttrs,
		In: op.Exactly(2), Out: op.Between(1, 2),
		Infer: func(c *op.InferCtx) error { return inferLayerNorm(c, -1, 1) },
		Flow:  op.Flows(func(c op.FlowCtx) error { return flowLayerNorm(c, 1) }),
		Grad: op.Gradient(func(c op.GradCtx) error {
			return gradLayerNorm(c, layerNormArgs{inv: c.Output(1)})
		}),
		Lower: lowers(func(k lowCalc) error { return lowerLayerNorm(k, false, -1, 1) }),
	}),
	{
		Name: "RMSNormalization", Versions: since(23), Attrs: layerNormAttrs,
		In: op.Exactly(2), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error { return inferLayerNorm(c, -1, -1) },
		Flow:  op.Flows(func(c op.FlowCtx) error { return flowLayerNorm(c) }),
		Grad: op.Gradient(func(c op.GradCtx) error {
			k := calc{c}
			axes, err := normalizedAxes(k, c.I(0))
			if err != nil {
				return err
			}
			return gradLayerNorm(c, layerNormArgs{inv: inverseRoot(k, k.square(c.I(0)), axes)})
		}),
		Lower: lowers(func(k lowCalc) error { return lowerLayerNorm(k, false, -1, -1) }),
	},
}

var layerNormAttrs = attrs(aInt("axis"), aFloat("epsilon"), aInt("stash_type"))

// inferLayerNorm: outputs mean and inv, where they are not -1, have extent 1
// on the normalized axes.
func inferLayerNorm(c *op.InferCtx, mean, inv int) error {
	x := c.I(0)
	c.Set(0, x.DType(), x.Shape().Clone())
	stats := onnxgraph.Shape(nil)
	if s := x.Shape(); s != nil {
		axis, err := c.Axis(c.Node.Int("axis", -1), len(s))
		if err != nil {
			return err
		}
		if g := c.I(1).Shape(); len(g) == len(s)-axis {
			for i, d := range g {
				if want := s[axis+i]; d.IsKnown() && want.IsKnown() && d != want && d != onnxgraph.Known(1) {
					return c.Errorf("axis", "scale has shape %s, but the normalized axes of %s start at %d", g, s, axis)
				}
			}
		}
		stats = s.Clone()
		for a := axis; a < len(stats); a++ {
			stats[a] = onnxgraph.Known(1)
		}
	}
	for _, o := range []int{mean, inv} {
		if o >= 0 {
			c.Set(o, onnxgraph.DType(c.Node.Int("stash_type", int64(onnxgraph.Float))), stats.Clone())
			if c.Node.Attr("stash_type") == nil && x.DType() == onnxgraph.Double && o < len(c.Out) {
				c.Out[o].Type.DType = onnxgraph.Double // what ONNX Runtime does in this case
			}
		}
	}
	return nil
}

// flowLayerNorm: every axis keeps its order in the output; the statistics are
// symmetric in the normalized ones.
func flowLayerNorm(c op.FlowCtx, stats ...int) error {
	for i := range c.Node().Inputs {
		align(c, i, 0)
	}
	axis := normAxis(c.Node(), c.InFact(0).Rank())
	for _, o := range stats {
		for a := range min(axis, max(c.OutFact(o).Rank(), 0)) {
			c.Link(c.In(0, a), c.Out(o, a))
		}
	}
	return nil
}

func normAxis(n *onnxgraph.Node, rank int) int {
	axis := int(n.Int("axis", -1))
	if axis < 0 {
		axis += max(rank, 0)
	}
	return max(axis, 0)
}

// normalizedAxes are the axes that the node normalizes over.
func normalizedAxes(k calc, x string) ([]int64, error) {
	r := k.Fact(x).Rank()
	if r <= 0 {
		return nil, k.Errorf("input of shape %s, expected a known rank", k.Fact(x).Shape())
	}
	return upTo(normAxis(k.Node(), r), r), nil
}

// inverseRoot is 1/√(mean(squares) + epsilon), keeping the axes.
func inverseRoot(k calc, squares string, axes []int64) string {
	ms := k.reduce("ReduceMean", squares, true, axes...)
	eps := k.ScalarLike(ms, float64(k.Node().Float("epsilon", 1e-5)))
	return k.one("Reciprocal", k.one("Sqrt", k.add(ms, eps)))
}

func lowerLayerNorm(k lowCalc, centre bool, meanOut, invOut int) error {
	x := k.I(0)
	axes, err := normalizedAxes(k.calc, x)
	if err != nil {
		return err
	}
	if centre {
		mean := k.reduce("ReduceMean", x, true, axes...)
		k.SetO(meanOut, mean)
		x = k.sub(x, mean)
	}
	inv := inverseRoot(k.calc, k.square(x), axes)
	k.SetO(invOut, inv)
	y := k.mul(k.mul(x, inv), k.I(1))
	if k.I(2) != "" {
		y = k.add(y, k.I(2))
	}
	k.SetO(0, y)
	return nil
}

// layerNormArgs are what the gradient of a layer normalization is made from;
// mean is empty where none was taken away.
type layerNormArgs struct{ dy, x, gamma, mean, inv string }

func gradLayerNorm(c op.GradCtx, a layerNormArgs) error {
	a.dy, a.x, a.gamma = c.GO(0), c.I(0), c.I(1)
	if a.dy == "" || c.GO(1) != "" || c.GO(2) != "" {
		return c.Errorf("a gradient comes in by mean or deviation, expected it to come by the normalized output alone")
	}
	dx, dgamma, dbeta, err := layerNormGrad(calc{c}, a)
	if err != nil {
		return err
	}
	c.SetGI(0, dx)
	c.SetGI(1, dgamma)
	if c.I(2) != "" {
		c.SetGI(2, dbeta)
	}
	return nil
}

// layerNormGrad computes the three gradients. Those of scale and bias are
// summed over the leading axes only; what broadcasting adds is the caller's.
func layerNormGrad(k calc, a layerNormArgs) (dx, dgamma, dbeta string, err error) {
	axes, err := normalizedAxes(k, a.x)
	if err != nil {
		return "", "", "", err
	}
	centred := a.x
	if a.mean != "" {
		centred = k.sub(a.x, a.mean)
	}
	xhat := k.mul(centred, a.inv)
	d := k.mul(a.dy, a.gamma)
	back := k.mul(xhat, k.reduce("ReduceMean", k.mul(d, xhat), true, axes...))
	if a.mean != "" {
		back = k.add(back, k.reduce("ReduceMean", d, true, axes...))
	}
	dx = k.mul(k.sub(d, back), a.inv)
	dgamma, dbeta = k.mul(a.dy, xhat), a.dy
	if lead := min(int(axes[0]), k.Fact(a.x).Rank()-k.Fact(a.gamma).Rank()); lead > 0 {
		dgamma = k.sum(dgamma, false, upTo(0, lead)...)
		dbeta = k.sum(dbeta, false, upTo(0, lead)...)
	}
	return dx, dgamma, dbeta, nil
}
