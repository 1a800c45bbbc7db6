// https://onnx.ai/onnx/operators/onnx__GroupNormalization.html
// https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// groupNorms normalize each sample over its positions, and GroupNormalization
// over groups of channels as well.
var groupNorms = []*op.Def{
	{
		Name: "InstanceNormalization", Versions: since(1, 6, 22), Attrs: attrs(consumed, aFloat("epsilon")), In: op.Exactly(3), Out: op.Exactly(1),
		Infer: inferChannels, Flow: op.Flows(flowInstanceNorm), Grad: op.FromLowering,
		Lower: lowers(func(k lowCalc) error {
			r := k.Fact(k.I(0)).Rank()
			if r < 3 {
				return k.Errorf("input of shape %s, expected positions behind the channels", k.Fact(k.I(0)).Shape())
			}
			y := standardized(k.calc, k.I(0), upTo(2, r))
			k.SetO(0, k.affine(y, k.I(1), k.I(2), r))
			return nil
		}),
	},
	{
		Name: "GroupNormalization", Versions: since(18, 21), Attrs: attrs(aFloat("epsilon"), need(aInt("num_groups")), aInt("stash_type")), In: op.Exactly(3), Out: op.Exactly(1),
		Infer: inferGroupNorm, Flow: op.Flows(flowGroupNorm), Grad: op.FromLowering, Lower: lowers(lowerGroupNorm),
	},
}

// inferChannels: like input 0, whose channels stand on axis 1.
func inferChannels(c *op.InferCtx) error {
	if r := c.I(0).Rank(); r >= 0 && r < 2 {
		return c.Errorf("", "input of shape %s, expected a channel axis", c.I(0).Shape())
	}
	return inferLike(c)
}

// standardized is (x − mean)/√(var + epsilon) over the axes.
func standardized(k calc, x string, axes []int64) string {
	centred := k.sub(x, k.reduce("ReduceMean", x, true, axes...))
	return k.mul(centred, inverseRoot(k, k.square(centred), axes))
}

// affine applies a scale and a bias per channel, to a value of rank r.
func (k calc) affine(y, scale, bias string, r int) string {
	spread := func(v string) string {
		if r == 2 {
			return v
		}
		return k.unsqueeze(v, upTo(1, r-1)...)
	}
	return k.add(k.mul(y, spread(scale)), spread(bias))
}

// flowInstanceNorm: channels are normalized each by itself, positions all
// alike.
func flowInstanceNorm(c op.FlowCtx) error {
	if c.InFact(0).Rank() < 2 {
		return opaque(c, "the rank is not known")
	}
	align(c, 0, 0)
	for i := 1; i <= 2; i++ {
		c.Link(c.In(i, 0), c.In(0, 1))
	}
	return nil
}

func inferGroupNorm(c *op.InferCtx) error {
	s, groups := c.I(0).Shape(), c.Node.Int("num_groups", 1)
	if groups < 1 || len(s) > 1 && s[1].IsKnown() && s[1].Value%groups != 0 {
		return c.Errorf("num_groups", "%d does not divide the channels of %s", groups, s)
	}
	return inferChannels(c)
}

// flowGroupNorm: groups may be exchanged, and channels within one.
func flowGroupNorm(c op.FlowCtx) error {
	s := c.InFact(0).Shape()
	if len(s) < 2 || !s[1].IsKnown() {
		return opaque(c, "the number of channels is not known")
	}
	groups := c.Node().Int("num_groups", 1)
	g, m := onnxgraph.Known(groups), onnxgraph.Known(s[1].Value/groups)
	group, member := grouped(c, c.In(0, 1), g, m)
	outGroup, outMember := grouped(c, c.Out(0, 1), g, m)
	link(c, group, outGroup)
	link(c, member, outMember)
	for i := 1; i <= 2; i++ {
		if c.Opset() < 21 {
			link(c, group, c.In(i, 0))
			continue
		}
		ig, im := grouped(c, c.In(i, 0), g, m)
		link(c, group, ig)
		link(c, member, im)
	}
	for a := range len(s) {
		if a != 1 {
			c.Link(c.In(0, a), c.Out(0, a))
		}
	}
	return nil
}

// lowerGroupNorm works on [N, groups, rest]. Before opset 21 scale and bias
// have an element per group, from then on one per channel.
func lowerGroupNorm(k lowCalc) error {
	x, r := k.I(0), k.Fact(k.I(0)).Rank()
	if r < 2 {
		return k.Errorf("the rank of the input is not known")
	}
	y := standardized(k.calc, k.reshape(x, 0, k.Node().Int("num_groups", 1), -1), []int64{2})
	if k.Opset() < 21 {
		y = k.affine(y, k.I(1), k.I(2), 3)
		k.SetO(0, k.two("Reshape", y, k.shapeFor(x)))
		return nil
	}
	k.SetO(0, k.affine(k.two("Reshape", y, k.shapeFor(x)), k.I(1), k.I(2), r))
	return nil
}
