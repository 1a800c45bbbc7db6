// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html. Training mode
// is an attribute from opset 14 on; before opset 7, is_test 0 meant it, and up
// to opset 13 more outputs did.

package ops

import (
	"ninox/onnxgraph"
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
	b := batchNormGrad{GradCtx: c, calc: k, axes: append([]int64{0}, upTo(2, rank)...), wide: upTo(1, rank-1)}
	if c.Node().Int("training_mode", 0) != 0 || c.Opset() < 14 && len(c.Node().Outputs) > 1 {
		b.ofBatch()
	} else {
		b.given()
	}
	return nil
}

// batchNormGrad is the gradient of one normalisation. Statistics are vectors
// over the channels, broadcast only where they meet the input.
type batchNormGrad struct {
	op.GradCtx
	calc
	axes []int64 // over which a channel is normalised
	wide []int64 // axes behind the channels
}

// channel makes a vector broadcast along the channels.
func (b batchNormGrad) channel(v string) string {
	if len(b.wide) == 0 {
		return v
	}
	return b.unsqueeze(v, b.wide...)
}

func (b batchNormGrad) mean(x string) string  { return b.reduce("ReduceMean", x, false, b.axes...) }
func (b batchNormGrad) total(x string) string { return b.sum(x, false, b.axes...) }

// inverse is 1/√(σ²+ε).
func (b batchNormGrad) inverse(variance string) string {
	eps := b.ScalarLike(variance, float64(b.Node().Float("epsilon", 1e-5)))
	return b.one("Reciprocal", b.one("Sqrt", b.add(variance, eps)))
}

// scaleAndBias gives the gradients of both, from Σ dY·(x−μ) and Σ dY.
func (b batchNormGrad) scaleAndBias(r, product, flat string) {
	b.SetGI(1, b.mul(product, r))
	b.SetGI(2, flat)
}

// given is the gradient where the statistics are inputs.
func (b batchNormGrad) given() {
	dy, r := b.GO(0), b.inverse(b.I(4))
	gain := b.mul(b.I(1), r)
	centred := b.sub(b.I(0), b.channel(b.I(3)))
	product, flat := b.total(b.mul(dy, centred)), b.total(dy)
	b.scaleAndBias(r, product, flat)
	b.SetGI(0, b.mul(dy, b.channel(gain)))
	b.SetGI(3, b.neg(b.mul(flat, gain)))
	b.SetGI(4, b.scale(b.mul(b.mul(product, gain), b.square(r)), -0.5))
}

// ofBatch is the gradient where the statistics are those of the batch. What
// dX has besides dY·scale·r is linear in x̂, and so is BatchNormalization with
// given statistics: one pass over the input instead of four.
func (b batchNormGrad) ofBatch() {
	x, dy := b.I(0), b.GO(0)
	// Without momentum the running statistics are those of the batch.
	given := b.Node().Float("momentum", 0.9) == 0 && b.O(1) != "" && b.O(2) != ""
	mean, variance := b.O(1), b.O(2)
	if !given {
		mean = b.mean(x)
	}
	centred := b.sub(x, b.channel(mean))
	if !given {
		variance = b.mean(b.square(centred))
	}
	r := b.inverse(variance)
	product, flat := b.total(b.mul(dy, centred)), b.total(dy)
	b.scaleAndBias(r, product, flat)
	if !b.Needs(0) {
		return
	}
	gain := b.mul(b.I(1), r)
	count := b.cast(b.two("Div", b.one("Size", x), b.one("Size", b.I(1))), b.Fact(x).DType())
	share := b.neg(b.div(gain, count))
	rest := b.Emit("BatchNormalization", []string{centred, b.mul(share, b.mul(product, r)), b.mul(share, flat), b.zerosLike(mean), variance}, onnxgraph.FloatAttr("epsilon", b.Node().Float("epsilon", 1e-5)))
	b.SetGI(0, b.add(b.mul(dy, b.channel(gain)), rest))
}
