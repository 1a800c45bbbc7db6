// Activations: https://onnx.ai/onnx/operators/onnx__Relu.html and Sigmoid,
// Tanh, Softplus.

package ops

import "ninox/onnxgraph/op"

var activations = []*op.Def{
	unary("Relu", since(1, 6, 13, 14), attrs(consumed), folder{
		ints: func(x []int64) (int64, bool) { return max(x[0], 0), true },
	}, op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		// The sign of the output is 1 where the unit is active, else 0.
		c.SetGI(0, k.mul(c.GO(0), k.one("Sign", c.O(0))))
		return nil
	})),
	unary("Sigmoid", since(1, 6, 13), attrs(consumed), folder{}, chain(func(k calc, x, y string) string {
		return k.sub(y, k.square(y))
	})),
	unary("Tanh", since(1, 6, 13), attrs(consumed), folder{}, chain(func(k calc, x, y string) string {
		return k.sub(k.ScalarLike(y, 1), k.square(y))
	})),
	unary("Softplus", since(1, 22), nil, folder{}, chain(func(k calc, x, y string) string {
		return k.one("Sigmoid", x)
	})),
}
