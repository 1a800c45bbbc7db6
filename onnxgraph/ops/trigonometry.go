// https://onnx.ai/onnx/operators/onnx__Sin.html and its relatives.

package ops

import (
	"math"

	"ninox/onnxgraph/op"
)

var trigonometry = []*op.Def{
	trig("Sin", since(7, 22), math.Sin, func(k calc, x, y string) string { return k.one("Cos", x) }),
	trig("Cos", since(7, 22), math.Cos, func(k calc, x, y string) string { return k.neg(k.one("Sin", x)) }),
	trig("Tan", since(7, 22), math.Tan, func(k calc, x, y string) string { return k.add(k.ScalarLike(y, 1), k.square(y)) }),
	trig("Asin", since(7, 22), math.Asin, func(k calc, x, y string) string { return k.inverseRoot(k.sub(k.ScalarLike(x, 1), k.square(x))) }),
	trig("Acos", since(7, 22), math.Acos, func(k calc, x, y string) string {
		return k.neg(k.inverseRoot(k.sub(k.ScalarLike(x, 1), k.square(x))))
	}),
	trig("Atan", since(7, 22), math.Atan, func(k calc, x, y string) string {
		return k.one("Reciprocal", k.add(k.ScalarLike(x, 1), k.square(x)))
	}),
	trig("Sinh", since(9, 22), math.Sinh, func(k calc, x, y string) string { return k.one("Sqrt", k.add(k.ScalarLike(y, 1), k.square(y))) }),
	trig("Cosh", since(9, 22), math.Cosh, func(k calc, x, y string) string {
		// sinh x, by exponentials that every version of the set has
		return k.scale(k.sub(k.one("Exp", x), k.one("Exp", k.neg(x))), 0.5)
	}),
	trig("Asinh", since(9, 22), math.Asinh, func(k calc, x, y string) string { return k.inverseRoot(k.add(k.square(x), k.ScalarLike(x, 1))) }),
	trig("Acosh", since(9, 22), math.Acosh, func(k calc, x, y string) string { return k.inverseRoot(k.sub(k.square(x), k.ScalarLike(x, 1))) }),
	trig("Atanh", since(9, 22), math.Atanh, func(k calc, x, y string) string {
		return k.one("Reciprocal", k.sub(k.ScalarLike(x, 1), k.square(x)))
	}),
}

func trig(name string, versions []int64, f func(float64) float64, slope func(k calc, x, y string) string) *op.Def {
	return unary(name, versions, nil, folder{floats: func(x []float64) float64 { return f(x[0]) }}, chain(slope))
}

// inverseRoot is 1/√x.
func (k calc) inverseRoot(x string) string { return k.one("Reciprocal", k.one("Sqrt", x)) }
