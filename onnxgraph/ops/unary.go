// Elementwise operators of one input that are plain mathematics.
// https://onnx.ai/onnx/operators/onnx__Abs.html and its neighbours Neg, Sqrt,
// Exp, Log, Erf, Sign, Reciprocal, Floor, Ceil, Round.

package ops

import (
	"math"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// unary is an elementwise operator of one input.
func unary(name string, versions []int64, attr []op.AttrSpec, f folder, grad op.Grad) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: attr, In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if err := inferLike(c); err != nil {
				return err
			}
			f.fold(c)
			return nil
		},
		Flow: op.Elementwise(), Grad: grad, Lower: op.Primitive,
	}
}

// chain is the gradient dX = dY·f, where f emits the derivative.
func chain(f func(k calc, x, y string) string) op.Grad {
	return op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		c.SetGI(0, k.mul(c.GO(0), f(k, c.I(0), c.O(0))))
		return nil
	})
}

var unaryMath = []*op.Def{
	unary("Abs", since(1, 6, 13), attrs(consumed), folder{
		ints:   func(x []int64) (int64, bool) { return max(x[0], -x[0]), true },
		floats: func(x []float64) float64 { return math.Abs(x[0]) },
	}, chain(func(k calc, x, y string) string { return k.one("Sign", x) })),

	unary("Neg", since(1, 6, 13), attrs(consumed), folder{
		ints:   func(x []int64) (int64, bool) { return -x[0], true },
		floats: func(x []float64) float64 { return -x[0] },
	}, op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, calc{c}.neg(c.GO(0)))
		return nil
	})),

	unary("Sqrt", since(1, 6, 13), attrs(consumed), folder{
		floats: func(x []float64) float64 { return math.Sqrt(x[0]) },
	}, op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		c.SetGI(0, k.div(k.scale(c.GO(0), 0.5), c.O(0)))
		return nil
	})),

	unary("Exp", since(1, 6, 13), attrs(consumed), folder{
		floats: func(x []float64) float64 { return math.Exp(x[0]) },
	}, chain(func(k calc, x, y string) string { return y })),

	unary("Log", since(1, 6, 13), attrs(consumed), folder{
		floats: func(x []float64) float64 { return math.Log(x[0]) },
	}, op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, calc{c}.div(c.GO(0), c.I(0)))
		return nil
	})),

	unary("Erf", since(9, 13), nil, folder{}, chain(func(k calc, x, y string) string {
		return k.scale(k.one("Exp", k.neg(k.square(x))), 2/math.Sqrt(math.Pi))
	})),

	unary("Reciprocal", since(1, 6, 13), attrs(consumed), folder{
		floats: func(x []float64) float64 { return 1 / x[0] },
	}, chain(func(k calc, x, y string) string { return k.neg(k.square(y)) })),

	unary("Sign", since(9, 13), nil, folder{}, op.ZeroGrad),
	unary("Floor", since(1, 6, 13), attrs(consumed), rounding(math.Floor), op.ZeroGrad),
	unary("Ceil", since(1, 6, 13), attrs(consumed), rounding(math.Ceil), op.ZeroGrad),
	unary("Round", since(11, 22), nil, rounding(math.RoundToEven), op.ZeroGrad),
}

// rounding leaves whole numbers, symbolic ones included, as they are.
func rounding(f func(float64) float64) folder {
	return folder{
		dims:   func(x []onnxgraph.Dim) onnxgraph.Dim { return x[0] },
		floats: func(x []float64) float64 { return f(x[0]) },
	}
}
