package ops

import "ninox/onnxgraph/op"

// activationGrads are backward operators of activations: by the output Y, or,
// for the Gelu family, by the input X.
var activationGrads = []*op.Def{
	// Upstream passes the output or, where that is not kept, the input.
	byOutput("ReluGrad", nil, func(k lowCalc, y string) string { return k.one("Sign", k.one("Relu", y)) }),
	byOutput("LeakyReluGrad", attrs(aFloat("alpha")), func(k lowCalc, y string) string {
		alpha := k.ScalarLike(y, float64(k.Node().Float("alpha", 0.01)))
		return k.where(k.two("Greater", y, k.ScalarLike(y, 0)), k.ScalarLike(y, 1), alpha)
	}),
	byOutput("SigmoidGrad", nil, func(k lowCalc, y string) string { return k.mul(y, k.sub(k.ScalarLike(y, 1), y)) }),
	byOutput("TanhGrad", nil, func(k lowCalc, y string) string { return k.sub(k.ScalarLike(y, 1), k.square(y)) }),
	byOutput("GeluGrad", nil, func(k lowCalc, x string) string { return erfGelu.slope(k.calc, x) }),
	byOutput("FastGeluGrad", nil, func(k lowCalc, x string) string { return tanhGelu.slope(k.calc, x) }),
	byOutput("QuickGeluGrad", attrs(aFloat("alpha")), func(k lowCalc, x string) string {
		return quickGelu(k.Node().Float("alpha", 1.702)).slope(k.calc, x)
	}),
	byBiased("BiasGeluGrad_dX", erfGelu),
	byBiased("BiasFastGeluGrad_dX", tanhGelu),
	byOutput("SinGrad", nil, func(k lowCalc, x string) string { return k.one("Cos", x) }),
	softmaxGrad("SoftmaxGrad_13", false), softmaxGrad("LogSoftmaxGrad_13", true),
}

// byOutput is dX = dY·slope, the slope given by the second input.
func byOutput(name string, a []op.AttrSpec, slope func(k lowCalc, v string) string) *op.Def {
	return training(name, op.Exactly(2), op.Exactly(1), a, inferLike, out0(func(k lowCalc) string {
		return k.mul(k.I(0), slope(k, k.I(1)))
	}))
}

// byBiased is dX = dY·f′(X + B).
func byBiased(name string, f curve) *op.Def {
	return training(name, op.Exactly(3), op.Exactly(1), nil, inferLike, out0(func(k lowCalc) string {
		return k.mul(k.I(0), f.slope(k.calc, k.add(k.I(1), k.I(2))))
	}))
}

// softmaxGrad is dX = q − Y·Σq with q = dY·Y, or dY − exp(Y)·ΣdY for the
// logarithm.
func softmaxGrad(name string, log bool) *op.Def {
	return training(name, op.Exactly(2), op.Exactly(1), attrs(aInt("axis")), inferLike, out0(func(k lowCalc) string {
		axis := k.Node().Int("axis", -1)
		dy, y := k.I(0), k.I(1)
		if log {
			return k.sub(dy, k.mul(k.one("Exp", y), k.sum(dy, true, axis)))
		}
		q := k.mul(dy, y)
		return k.sub(q, k.mul(y, k.sum(q, true, axis)))
	}))
}
