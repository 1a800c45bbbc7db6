// Elementwise operators of any number of inputs:
// https://onnx.ai/onnx/operators/onnx__Sum.html and Mean, Max, Min.

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

func variadic(name string, versions []int64, f folder, grad op.Grad, lower op.Lower) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: attrs(consumed), In: op.AtLeast(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			shapes := make([]onnxgraph.Shape, len(c.In))
			for i, in := range c.In {
				shapes[i] = in.Shape()
			}
			s, err := broadcast(c, shapes...)
			if err != nil {
				return err
			}
			c.Set(0, c.I(0).DType(), s)
			f.fold(c)
			return nil
		},
		Flow: op.Elementwise(), Grad: grad, Lower: lower,
	}
}

var variadics = []*op.Def{
	variadic("Sum", since(1, 6, 8, 13), folder{}, op.Gradient(func(c op.GradCtx) error {
		for i := range c.Node().Inputs {
			c.SetGI(i, c.GO(0))
		}
		return nil
	}), op.Primitive),

	variadic("Mean", since(1, 6, 8, 13), folder{}, op.FromLowering, op.Lowering(func(c op.LowerCtx) error {
		k := calc{c}
		n := len(c.Node().Inputs)
		c.SetO(0, k.div(c.Emit("Sum", c.Node().Inputs), k.ScalarLike(c.I(0), float64(n))))
		return nil
	})),

	variadic("Max", since(1, 6, 8, 12, 13), extremum(slices.Max[[]int64], slices.Max[[]float64]), op.Gradient(gradExtremum), op.Primitive),
	variadic("Min", since(1, 6, 8, 12, 13), extremum(slices.Min[[]int64], slices.Min[[]float64]), op.Gradient(gradExtremum), op.Primitive),
}

func extremum(ints func([]int64) int64, floats func([]float64) float64) folder {
	return folder{ints: func(x []int64) (int64, bool) { return ints(x), true }, floats: floats}
}

// gradExtremum gives the gradient to the input that was chosen; equal inputs
// share it.
func gradExtremum(c op.GradCtx) error {
	k := calc{c}
	n := len(c.Node().Inputs)
	chosen := make([]string, n)
	for i := range n {
		chosen[i] = k.mask(k.two("Equal", c.I(i), c.O(0)), c.O(0))
	}
	each := k.div(c.GO(0), c.Emit("Sum", chosen))
	for i := range n {
		if c.Needs(i) {
			c.SetGI(i, k.mul(each, chosen[i]))
		}
	}
	return nil
}
