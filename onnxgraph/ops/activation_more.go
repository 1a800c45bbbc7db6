// Further activations: https://onnx.ai/onnx/operators/onnx__LeakyRelu.html and
// Elu, Selu, Celu, HardSigmoid, HardSwish, Mish, PRelu, Shrink, Softsign,
// Swish, ThresholdedRelu.

package ops

import "ninox/onnxgraph/op"

var moreActivations = []*op.Def{
	unary("LeakyRelu", since(1, 6, 16), attrs(consumed, aFloat("alpha")), folder{}, chain(func(k calc, x, y string) string {
		return k.where(k.positive(x), k.ScalarLike(x, 1), k.number(x, "alpha", 0.01))
	})),
	unary("Elu", since(1, 6, 22), attrs(consumed, aFloat("alpha")), folder{}, chain(func(k calc, x, y string) string {
		return k.where(k.positive(x), k.ScalarLike(x, 1), k.add(y, k.number(x, "alpha", 1)))
	})),
	unary("Selu", since(1, 6, 22), attrs(consumed, aFloat("alpha"), aFloat("gamma")), folder{}, chain(func(k calc, x, y string) string {
		gamma := k.number(x, "gamma", 1.05070102214813232421875)
		below := k.add(y, k.mul(gamma, k.number(x, "alpha", 1.67326319217681884765625)))
		return k.where(k.positive(x), gamma, below)
	})),
	unary("Celu", since(12, 28), attrs(aFloat("alpha")), folder{}, chain(func(k calc, x, y string) string {
		one := k.ScalarLike(x, 1)
		return k.where(k.positive(x), one, k.add(k.div(y, k.number(x, "alpha", 1)), one))
	})),
	unary("HardSigmoid", since(1, 6, 22), attrs(consumed, aFloat("alpha"), aFloat("beta")), folder{}, chain(func(k calc, x, y string) string {
		zero, one := k.ScalarLike(y, 0), k.ScalarLike(y, 1)
		rising := k.two("And", k.two("Greater", y, zero), k.two("Less", y, one))
		return k.where(rising, k.number(x, "alpha", 0.2), zero)
	})),
	lowered(unary("HardSwish", since(14, 22), nil, folder{}, chain(func(k calc, x, y string) string {
		three := k.ScalarLike(x, 3)
		ramp := k.add(k.div(x, three), k.ScalarLike(x, 0.5))
		above := k.where(k.two("Less", x, three), ramp, k.ScalarLike(x, 1))
		return k.where(k.two("Greater", x, k.neg(three)), above, k.ScalarLike(x, 0))
	})), out0(func(k lowCalc) string {
		ramp := k.add(k.scale(k.I(0), 1.0/6), k.ScalarLike(k.I(0), 0.5))
		gate := k.Emit("Clip", []string{ramp, k.ScalarLike(ramp, 0), k.ScalarLike(ramp, 1)})
		return k.mul(k.I(0), gate)
	})),
	lowered(unary("Mish", since(18, 22), nil, folder{}, chain(func(k calc, x, y string) string {
		t := k.one("Tanh", k.one("Softplus", x))
		bend := k.mul(k.mul(x, k.sub(k.ScalarLike(x, 1), k.square(t))), k.one("Sigmoid", x))
		return k.add(t, bend)
	})), out0(func(k lowCalc) string { return k.mul(k.I(0), k.one("Tanh", k.one("Softplus", k.I(0)))) })),
	unary("Softsign", since(1, 22), nil, folder{}, chain(func(k calc, x, y string) string {
		return k.one("Reciprocal", k.square(k.add(k.ScalarLike(x, 1), k.one("Abs", x))))
	})),
	lowered(unary("Swish", since(24), attrs(aFloat("alpha")), folder{}, chain(func(k calc, x, y string) string {
		return quickGelu(k.Node().Float("alpha", 1)).slope(k, x)
	})), out0(func(k lowCalc) string { return quickGelu(k.Node().Float("alpha", 1)).value(k.calc, k.I(0)) })),
	unary("ThresholdedRelu", since(10, 22), attrs(aFloat("alpha")), folder{}, chain(func(k calc, x, y string) string {
		return k.mask(k.two("Greater", x, k.number(x, "alpha", 1)), x)
	})),
	unary("Shrink", since(9), attrs(aFloat("bias"), aFloat("lambd")), folder{}, chain(func(k calc, x, y string) string {
		return k.mask(k.two("Greater", k.one("Abs", x), k.number(x, "lambd", 0.5)), x)
	})),
	{
		Name: "PRelu", Versions: since(1, 6, 7, 9, 16), Attrs: attrs(consumed), In: op.Exactly(2), Out: op.Exactly(1),
		Infer: inferLike, Flow: op.Elementwise(), Lower: op.Primitive,
		Grad: op.Gradient(func(c op.GradCtx) error {
			k := calc{c}
			x, slope := c.I(0), c.I(1)
			active := k.positive(x)
			if c.Needs(0) {
				c.SetGI(0, k.mul(c.GO(0), k.where(active, k.ScalarLike(x, 1), slope)))
			}
			if c.Needs(1) {
				c.SetGI(1, k.mul(c.GO(0), k.where(active, k.ScalarLike(x, 0), x)))
			}
			return nil
		}),
	},
}

// positive says where x is above 0.
func (k calc) positive(x string) string { return k.two("Greater", x, k.ScalarLike(x, 0)) }

// number is a float attribute as a scalar of x's type.
func (k calc) number(x, attr string, def float32) string {
	return k.ScalarLike(x, float64(k.Node().Float(attr, def)))
}

// lowered adds a lowering to a definition.
func lowered(d *op.Def, rule func(k lowCalc) error) *op.Def {
	d.Lower = lowers(rule)
	return d
}
