// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html. Training mode
// is an attribute from opset 14 on; before opset 7, is_test 0 meant it, and up
// to opset 13 more outputs did.

package ops

import (
	"ninox/onnxgraph/op"
)

var batchNormalization = &op.Def{
	Name: "BatchNormalization", Versions: since(1, 6, 7, 9, 14, 15), In: op.Exactly(5), Out: op.Between(1, 5),
	Attrs: attrs(aFloat("epsilon"), aFloat("momentum"), aInt("is_test"), aInt("spatial"), aInt("training_mode"), consumed),
	Infer: inferBatchNorm, Flow: op.Flows(flowBatchNorm), Grad: op.Gradient(gradBatchNorm), Lower: op.Primitive,
}

func inferBatchNorm(c *op.InferCtx) error {
	x := c.I(0).Shape()
	if x != nil && len(x) < 2 {
		return c.Errorf("", "input %s, expected batch and channels at least", x)
	}
	if c.Node.Int("spatial", 1) != 0 {
		for i := 1; i < len(c.In); i++ {
			s := c.I(i).Shape()
			if s != nil && (len(s) != 1 || x != nil && s[0].IsKnown() && x[1].IsKnown() && s[0] != x[1]) {
				return c.Errorf("", "input %d has shape %s, expected one entry for each channel of %s", i, s, x)
			}
		}
	}
	for i := 1; i < len(c.Out); i++ { // running statistics, and those of the batch
		c.Set(i, c.I(3).DType(), c.I(3).Shape().Clone())
	}
	return inferLike(c)
}

func flowBatchNorm(c op.FlowCtx) error {
	if c.InFact(0).Rank() < 2 || c.Node().Int("spatial", 1) == 0 {
		return opaque(c, "normalises each position by itself")
	}
	align(c, 0, 0)
	for i := 1; i < 5; i++ {
		c.Link(c.In(i, 0), c.Out(0, 1))
	}
	for o := 1; o < len(c.Node().Outputs); o++ {
		if c.OutFact(o) != nil {
			c.Link(c.Out(o, 0), c.Out(0, 1))
		}
	}
	return nil
}

// gradBatchNorm: with x̂ = (x−μ)·r and r = 1/√(σ²+ε), dscale = Σ dY·x̂ and
// dB = Σ dY. With given statistics dX = scale·r·dY; with those of the batch
// dX = scale·r·(dY − mean dY − x̂·mean(dY·x̂)).
func gradBatchNorm(c op.GradCtx) error {
	k := calc{c}
	x := c.I(0)
	rank := c.Fact(x).Rank()
	if rank < 2 || c.Node().Int("spatial", 1) == 0 {
		return c.Errorf("the rank is unknown, or the attribute spatial is 0")
	}
	for o := 1; o < len(c.Node().Outputs); o++ {
		if c.GO(o) != "" {
			return c.Errorf("no gradient of the running statistics")
		}
	}
	train := c.Node().Int("training_mode", 0) != 0 || c.Opset() < 14 && len(c.Node().Outputs) > 1
	axes := append([]int64{0}, upTo(2, rank)...)
	channel := func(v string) string { // a vector, to broadcast along the channels
		if rank == 2 {
			return v
		}
		return k.unsqueeze(v, upTo(1, rank-1)...)
	}
	dy := c.GO(0)
	mean, variance := channel(c.I(3)), channel(c.I(4))
	if train {
		mean = k.reduce("ReduceMean", x, true, axes...)
	}
	centred := k.sub(x, mean)
	if train {
		variance = k.reduce("ReduceMean", k.square(centred), true, axes...)
	}
	eps := k.ScalarLike(variance, float64(c.Node().Float("epsilon", 1e-5)))
	r := k.one("Reciprocal", k.one("Sqrt", k.add(variance, eps)))
	normal := k.mul(centred, r)
	gain := k.mul(channel(c.I(1)), r)
	c.SetGI(1, k.sum(k.mul(dy, normal), false, axes...))
	c.SetGI(2, k.sum(dy, false, axes...))
	if !train {
		c.SetGI(0, k.mul(dy, gain))
		if c.Needs(3) {
			c.SetGI(3, k.neg(k.sum(k.mul(dy, gain), false, axes...)))
		}
		if c.Needs(4) {
			half := k.scale(k.mul(k.mul(dy, gain), k.mul(normal, r)), -0.5)
			c.SetGI(4, k.sum(half, false, axes...))
		}
		return nil
	}
	if c.Needs(0) {
		flat := k.reduce("ReduceMean", dy, true, axes...)
		slope := k.reduce("ReduceMean", k.mul(dy, normal), true, axes...)
		c.SetGI(0, k.mul(gain, k.sub(k.sub(dy, flat), k.mul(normal, slope))))
	}
	return nil
}
