// https://onnx.ai/onnx/operators/onnx__Gelu.html
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

package ops

import (
	"math"

	"ninox/onnxgraph/op"
)

// geluOps are the forms of the Gaussian error linear unit: exact, with tanh,
// and with a sigmoid.
var geluOps = []*op.Def{
	gelu("", "Gelu", since(20), attrs(aStr("approximate")), 1, standardGelu),
	gelu(microsoft, "Gelu", since(1), nil, 1, func(calc) curve { return erfGelu }),
	gelu(microsoft, "FastGelu", since(1), nil, 2, func(calc) curve { return tanhGelu }),
	gelu(microsoft, "BiasGelu", since(1), nil, 2, func(calc) curve { return erfGelu }),
	gelu(microsoft, "QuickGelu", since(1), attrs(aFloat("alpha")), 1, func(k calc) curve { return quickGelu(k.Node().Float("alpha", 1.702)) }),
}

// curve is a function of one variable: value and derivative in emitted nodes.
type curve struct {
	value func(k calc, x string) string
	slope func(k calc, x string) string
}

// gelu is the definition of y = curve(x [+ bias]).
func gelu(domain, name string, versions []int64, a []op.AttrSpec, maxIn int, of func(calc) curve) *op.Def {
	in := op.Between(1, maxIn)
	if name == "BiasGelu" {
		in = op.Exactly(2)
	}
	return &op.Def{
		Domain: domain, Name: name, Versions: versions, Attrs: a, In: in, Out: op.Exactly(1),
		Infer: inferLike,
		Flow:  op.Elementwise(),
		Grad: op.Gradient(func(c op.GradCtx) error {
			k := calc{c}
			g := k.mul(c.GO(0), of(k).slope(k, biased(k)))
			c.SetGI(0, g)
			if c.I(1) != "" {
				c.SetGI(1, g)
			}
			return nil
		}),
		Lower: lowers(out0(func(k lowCalc) string { return of(k.calc).value(k.calc, biased(k.calc)) })),
	}
}

// biased is input 0 plus the optional bias, input 1.
func biased(k calc) string {
	if k.I(1) == "" {
		return k.I(0)
	}
	return k.add(k.I(0), k.I(1))
}

func standardGelu(k calc) curve {
	if k.Node().Str("approximate", "none") == "tanh" {
		return tanhGelu
	}
	return erfGelu
}

// erfGelu is x·Φ(x), with the normal distribution Φ.
var erfGelu = curve{
	value: func(k calc, x string) string { return k.mul(x, normalCDF(k, x)) },
	slope: func(k calc, x string) string {
		pdf := k.scale(k.one("Exp", k.scale(k.square(x), -0.5)), 1/math.Sqrt(2*math.Pi))
		return k.add(normalCDF(k, x), k.mul(x, pdf))
	},
}

func normalCDF(k calc, x string) string {
	erf := k.one("Erf", k.scale(x, math.Sqrt2/2))
	return k.scale(k.add(erf, k.ScalarLike(x, 1)), 0.5)
}

// tanhGelu is x/2·(1 + tanh u), u = √(2/π)·(x + c·x³).
var tanhGelu = curve{
	value: func(k calc, x string) string {
		return k.mul(k.scale(x, 0.5), k.add(tanhOfGelu(k, x), k.ScalarLike(x, 1)))
	},
	slope: func(k calc, x string) string {
		one := k.ScalarLike(x, 1)
		t := tanhOfGelu(k, x)
		du := k.scale(k.add(one, k.scale(k.square(x), 3*tanhGeluCubic)), tanhGeluScale)
		rise := k.mul(k.mul(x, k.sub(one, k.square(t))), du)
		return k.scale(k.add(k.add(one, t), rise), 0.5)
	},
}

const (
	tanhGeluScale = 0.79788456080286535588 // √(2/π)
	tanhGeluCubic = 0.044715
)

func tanhOfGelu(k calc, x string) string {
	inner := k.add(k.ScalarLike(x, 1), k.scale(k.square(x), tanhGeluCubic))
	return k.one("Tanh", k.mul(k.scale(x, tanhGeluScale), inner))
}

// quickGelu is x·sigmoid(alpha·x).
func quickGelu(alpha float32) curve {
	sigmoid := func(k calc, x string) string { return k.one("Sigmoid", k.scale(x, float64(alpha))) }
	return curve{
		value: func(k calc, x string) string { return k.mul(x, sigmoid(k, x)) },
		slope: func(k calc, x string) string {
			s, one := sigmoid(k, x), k.ScalarLike(x, 1)
			bend := k.mul(k.scale(x, float64(alpha)), k.sub(one, s))
			return k.mul(s, k.add(one, bend))
		},
	}
}
