// Arithmetic with broadcasting: https://onnx.ai/onnx/operators/onnx__Add.html
// and Sub, Mul, Div, Pow.

package ops

import (
	"math"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// oldBroadcast are the attributes by which operators broadcast before opset 7:
// the second input only, from the given axis of the first on.
func oldBroadcast(more ...op.AttrSpec) []op.AttrSpec {
	return append(attrs(aInt("axis"), aInt("broadcast")), more...)
}

// pairwise is an elementwise operator of two inputs; result is the element type
// of its output, Undefined for that of the first input.
func pairwise(name string, versions []int64, result onnxgraph.DType, attr []op.AttrSpec, f folder, grad op.Grad) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: attr, In: op.Exactly(2), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error { return inferPairwise(c, result, f) },
		Flow:  op.Flows(flowBinary), Grad: grad, Lower: op.Primitive,
	}
}

func inferPairwise(c *op.InferCtx, result onnxgraph.DType, f folder) error {
	if result == onnxgraph.Undefined {
		result = c.I(0).DType()
	}
	if c.Opset < 7 {
		c.Set(0, result, c.I(0).Shape().Clone())
		return nil
	}
	shape, err := broadcast(c, c.I(0).Shape(), c.I(1).Shape())
	if err != nil {
		return err
	}
	c.Set(0, result, shape)
	f.fold(c)
	return nil
}

func flowBinary(c op.FlowCtx) error {
	align(c, 0, 0)
	if c.Opset() >= 7 || c.Node().Attr("axis") == nil {
		align(c, 1, 0)
		return nil
	}
	first := c.Node().Int("axis", 0)
	if first < 0 {
		first += int64(c.OutFact(0).Rank())
	}
	for a := range max(c.InFact(1).Rank(), 0) {
		if at := int(first) + a; at < c.OutFact(0).Rank() {
			c.Link(c.In(1, a), c.Out(0, at))
		}
	}
	return nil
}

// dimsOf makes a folder's function from one of two extents.
func dimsOf(f func(a, b onnxgraph.Dim) onnxgraph.Dim) func([]onnxgraph.Dim) onnxgraph.Dim {
	return func(x []onnxgraph.Dim) onnxgraph.Dim { return f(x[0], x[1]) }
}

var arithmetic = []*op.Def{
	pairwise("Add", since(1, 6, 7, 13, 14), onnxgraph.Undefined, oldBroadcast(consumed), folder{
		ints:   func(x []int64) (int64, bool) { return x[0] + x[1], true },
		dims:   dimsOf(addDims),
		floats: func(x []float64) float64 { return x[0] + x[1] },
	}, op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.GO(0))
		c.SetGI(1, c.GO(0))
		return nil
	})),

	pairwise("Sub", since(1, 6, 7, 13, 14), onnxgraph.Undefined, oldBroadcast(consumed), folder{
		ints:   func(x []int64) (int64, bool) { return x[0] - x[1], true },
		dims:   dimsOf(subDims),
		floats: func(x []float64) float64 { return x[0] - x[1] },
	}, op.Gradient(func(c op.GradCtx) error {
		c.SetGI(0, c.GO(0))
		if c.Needs(1) {
			c.SetGI(1, calc{c}.neg(c.GO(0)))
		}
		return nil
	})),

	pairwise("Mul", since(1, 6, 7, 13, 14), onnxgraph.Undefined, oldBroadcast(consumed), folder{
		ints:   func(x []int64) (int64, bool) { return x[0] * x[1], true },
		dims:   dimsOf(mulDims),
		floats: func(x []float64) float64 { return x[0] * x[1] },
	}, op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		for i := range 2 {
			if c.Needs(i) {
				c.SetGI(i, k.mul(c.GO(0), c.I(1-i)))
			}
		}
		return nil
	})),

	pairwise("Div", since(1, 6, 7, 13, 14), onnxgraph.Undefined, oldBroadcast(consumed), folder{
		ints: func(x []int64) (int64, bool) {
			if x[1] == 0 {
				return 0, false
			}
			return x[0] / x[1], true
		},
		// Integers round towards zero, floating-point sizes are followed only
		// where the division is exact.
		dims:    dimsOf(divDims),
		intDims: dimsOf(floorDims),
		floats:  func(x []float64) float64 { return x[0] / x[1] },
	}, op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		d := k.div(c.GO(0), c.I(1))
		c.SetGI(0, d)
		if c.Needs(1) {
			c.SetGI(1, k.neg(k.mul(d, c.O(0))))
		}
		return nil
	})),

	pairwise("Pow", since(1, 7, 12, 13, 15), onnxgraph.Undefined, oldBroadcast(), folder{
		floats: func(x []float64) float64 { return math.Pow(x[0], x[1]) },
	}, op.Gradient(gradPow)),
}

// gradPow: d/dx = y·x^(y−1), d/dy = x^y·ln x. The exponents that models use
// are spelled with Mul and Sqrt, which are cheaper and exact at 0.
func gradPow(c op.GradCtx) error {
	k := calc{c}
	x, y, dy := c.I(0), c.I(1), c.GO(0)
	if c.Needs(0) {
		exponent, constant := constantNumber(c.Fact(y))
		switch {
		case constant && exponent == 2:
			c.SetGI(0, k.mul(dy, k.scale(x, 2)))
		case constant && exponent == 1:
			c.SetGI(0, dy)
		case constant && exponent == 0.5:
			c.SetGI(0, k.div(k.scale(dy, 0.5), c.O(0)))
		case constant && exponent == 3:
			c.SetGI(0, k.mul(dy, k.scale(k.square(x), 3)))
		case constant:
			c.SetGI(0, k.mul(dy, k.scale(k.two("Pow", x, k.ScalarLike(x, exponent-1)), exponent)))
		default:
			e := k.cast(y, c.Fact(x).DType())
			c.SetGI(0, k.mul(dy, k.mul(e, k.two("Pow", x, k.sub(e, k.ScalarLike(e, 1))))))
		}
	}
	if c.Needs(1) {
		// At x = 0 the derivative is 0 for y > 0; ln 0 would make it NaN.
		one := k.ScalarLike(x, 1)
		safe := k.where(k.two("Equal", x, k.ScalarLike(x, 0)), one, x)
		g := k.mul(dy, k.mul(c.O(0), k.one("Log", safe)))
		c.SetGI(1, k.cast(g, c.Fact(y).DType()))
	}
	return nil
}

// constantNumber is the single number that a constant holds.
func constantNumber(f *op.Fact) (float64, bool) {
	if f == nil || f.Const == nil || !small(f) || f.Const.Len() != 1 {
		return 0, false
	}
	v, err := f.Const.AsDoubles()
	if err != nil || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}
