package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// normGrads are the operators of normalization in upstream's training graphs.
var normGrads = []*op.Def{
	training("LayerNormalizationGrad", op.Exactly(5), op.Between(1, 3), layerNormAttrs, likeInputs(1, 2, 2), func(k lowCalc) error {
		dx, dgamma, dbeta, err := layerNormGrad(k.calc, layerNormArgs{dy: k.I(0), x: k.I(1), gamma: k.I(2), mean: k.I(3), inv: k.I(4)})
		if err != nil {
			return err
		}
		k.SetO(0, dx)
		k.SetO(1, k.likeShape(dgamma, k.I(2)))
		k.SetO(2, k.likeShape(dbeta, k.I(2)))
		return nil
	}),
	training("SimplifiedLayerNormalizationGrad", op.Exactly(4), op.Between(1, 2), layerNormAttrs, likeInputs(1, 2), func(k lowCalc) error {
		dx, dgamma, _, err := layerNormGrad(k.calc, layerNormArgs{dy: k.I(0), x: k.I(1), gamma: k.I(2), inv: k.I(3)})
		if err != nil {
			return err
		}
		k.SetO(0, dx)
		k.SetO(1, k.likeShape(dgamma, k.I(2)))
		return nil
	}),
	training("BatchNormInternal", op.Exactly(5), op.Between(1, 5), attrs(aFloat("epsilon"), aFloat("momentum"), aInt("training_mode")), inferBatchNormInternal, lowerBatchNormInternal),
	training("BatchNormalizationGrad", op.Exactly(5), op.Exactly(3), attrs(aFloat("epsilon")), likeInputs(1, 2, 2), lowerBatchNormGrad),
}

func inferBatchNormInternal(c *op.InferCtx) error {
	x, scale := c.I(0), c.I(1)
	c.Set(0, x.DType(), x.Shape().Clone())
	for o := 1; o < 5; o++ {
		c.Set(o, scale.DType(), scale.Shape().Clone())
	}
	return nil
}

// channelAxes are the axes over which batch normalization takes statistics.
func channelAxes(k calc, x string) ([]int64, error) {
	r := k.Fact(x).Rank()
	if r < 2 {
		return nil, k.Errorf("input of shape %s, expected a known rank of at least 2", k.Fact(x).Shape())
	}
	return append([]int64{0}, upTo(2, r)...), nil
}

// lowerBatchNormInternal: without momentum the standard operator gives the
// statistics of the batch, which the running ones move towards.
func lowerBatchNormInternal(k lowCalc) error {
	eps, momentum := k.Node().Float("epsilon", 1e-5), k.Node().Float("momentum", 0.9)
	out := k.EmitN("BatchNormalization", []string{k.I(0), k.I(1), k.I(2), k.I(3), k.I(4)}, 3,
		onnxgraph.FloatAttr("epsilon", eps), onnxgraph.FloatAttr("momentum", 0), onnxgraph.IntAttr("training_mode", 1))
	k.SetO(0, out[0])
	for o := 1; o < 3; o++ {
		k.SetO(o, k.add(k.scale(k.I(o+2), float64(momentum)), k.scale(out[o], float64(1-momentum))))
	}
	mean, variance := out[1], out[2]
	k.SetO(3, mean)
	k.SetO(4, k.one("Reciprocal", k.one("Sqrt", k.add(variance, k.ScalarLike(variance, float64(eps))))))
	return nil
}

// lowerBatchNormGrad: dY, X, scale, mean and 1/σ of the batch.
func lowerBatchNormGrad(k lowCalc) error {
	dy, x := k.I(0), k.I(1)
	axes, err := channelAxes(k.calc, x)
	if err != nil {
		return err
	}
	perChannel := make([]int64, len(axes))
	for i := range perChannel {
		perChannel[i] = 1
	}
	perChannel[0] = -1
	spread := func(v string) string { return k.reshape(v, perChannel...) }
	inv := spread(k.I(4))
	xhat := k.mul(k.sub(x, spread(k.I(3))), inv)
	dscale := k.sum(k.mul(dy, xhat), true, axes...)
	dbias := k.sum(dy, true, axes...)
	n := k.div(k.cast(k.one("Size", dy), k.Fact(x).DType()), k.cast(k.one("Size", k.I(2)), k.Fact(x).DType()))
	centred := k.sub(dy, k.div(k.add(dbias, k.mul(xhat, dscale)), n))
	k.SetO(0, k.mul(k.mul(spread(k.I(2)), inv), centred))
	k.SetO(1, k.squeeze(dscale, axes...))
	k.SetO(2, k.squeeze(dbias, axes...))
	return nil
}
