package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// trainingTools are what else upstream's training graphs hold.
var trainingTools = []*op.Def{
	// Scale multiplies, or divides, by a scalar of any type.
	training("Scale", op.Exactly(2), op.Exactly(1), attrs(aInt("scale_down")), inferLike, out0(func(k lowCalc) string {
		x := k.I(0)
		by := k.cast(k.I(1), k.Fact(x).DType())
		if k.Node().Int("scale_down", 0) != 0 {
			return k.div(x, by)
		}
		return k.mul(x, by)
	})),
	// DropoutGrad is dY·mask/(1 − ratio) in training, dY otherwise.
	training("DropoutGrad", op.Between(2, 4), op.Exactly(1), nil, inferLike, out0(func(k lowCalc) string {
		dy := k.I(0)
		keep := k.ScalarLike(dy, 0.5)
		if k.I(2) != "" {
			keep = k.sub(k.ScalarLike(dy, 1), k.cast(k.I(2), k.Fact(dy).DType()))
		}
		dropped := k.div(k.mul(dy, k.mask(k.I(1), dy)), keep)
		if k.I(3) == "" {
			return dropped
		}
		return k.where(k.I(3), dropped, dy)
	})),
	// DivGrad is the gradient of A/B for both, reduced to their shapes.
	training("DivGrad", op.Exactly(3), op.Between(1, 2), nil, likeInputs(1, 2), func(k lowCalc) error {
		dy, a, b := k.I(0), k.I(1), k.I(2)
		da := k.div(dy, b)
		k.SetO(0, unbroadcast(k, da, a))
		k.SetO(1, unbroadcast(k, k.neg(k.div(k.mul(da, a), b)), b))
		return nil
	}),
	// ReduceSumTraining takes its axes as an input in every opset.
	training("ReduceSumTraining", op.Exactly(2), op.Exactly(1), attrs(aInt("keepdims"), aInt("noop_with_empty_axes")), inferReduceSumTraining, out0(func(k lowCalc) string {
		return k.Emit("ReduceSum", k.Node().Inputs, onnxgraph.IntAttr("keepdims", k.Node().Int("keepdims", 1)),
			onnxgraph.IntAttr("noop_with_empty_axes", k.Node().Int("noop_with_empty_axes", 0)))
	})),
}

func inferReduceSumTraining(c *op.InferCtx) error {
	sum := *c
	sum.Opset = 13 // from where on ReduceSum is the same
	return defNamed(reductions, "ReduceSum").Infer(&sum)
}

// unbroadcast sums x over the axes along which the value like was broadcast.
func unbroadcast(k lowCalc, x, like string) string {
	have, want := k.Fact(x).Shape(), k.Fact(like).Shape()
	if have != nil && want != nil && len(have) >= len(want) {
		lead := len(have) - len(want)
		axes, certain := upTo(0, lead), true
		for a, d := range want {
			switch one := onnxgraph.Known(1); {
			case d == one && have[lead+a] != one:
				axes = append(axes, int64(lead+a))
			case !d.Same(have[lead+a]):
				certain = false
			}
		}
		switch {
		case certain && len(axes) == 0:
			return x
		case certain:
			return k.likeShape(k.sum(x, true, axes...), like)
		}
	}
	// Unknown until run time: sum where the extents differ.
	shape := k.ShapeOf(like)
	rank := k.one("Size", k.ShapeOf(x))
	missing := k.sub(rank, k.one("Size", shape))
	ones := k.filled(k.reshape(missing, 1), onnxgraph.Int64, 1)
	padded := k.Emit("Concat", []string{ones, shape}, onnxgraph.IntAttr("axis", 0))
	differ := k.one("Not", k.two("Equal", k.ShapeOf(x), padded))
	axes := k.reshape(k.one("NonZero", differ), -1)
	sum := k.Emit("ReduceSum", []string{x, axes}, onnxgraph.IntAttr("keepdims", 1), onnxgraph.IntAttr("noop_with_empty_axes", 1))
	return k.two("Reshape", sum, shape)
}
