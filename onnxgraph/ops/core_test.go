package ops_test

import (
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/optest"
	"ninox/runtime/runtimetest"
)

type row = optest.Row

// Short names for the tables.
var (
	normal   = optest.Normal
	uniform  = optest.Uniform
	apart    = optest.Apart
	distinct = optest.Distinct
	given    = optest.Given
	ints     = optest.Ints
	fixed    = optest.Const
	absent   = optest.Absent
	i        = onnxgraph.IntAttr
	is       = onnxgraph.IntsAttr
	f        = onnxgraph.FloatAttr
	s        = onnxgraph.StringAttr
)

func with(a ...*onnxgraph.Attribute) []*onnxgraph.Attribute { return a }
func in(a ...optest.Arg) []optest.Arg                       { return a }

func indices(dims []int64, v ...int64) optest.Arg { return fixed(onnxgraph.Int64s("", dims, v)) }

func integer(v int64) optest.Arg { return indices([]int64{}, v) }

func bools(v ...byte) optest.Arg {
	return fixed(&onnxgraph.Tensor{DType: onnxgraph.Bool, Dims: []int64{int64(len(v))}, Data: v})
}

func yes() optest.Arg {
	return fixed(&onnxgraph.Tensor{DType: onnxgraph.Bool, Dims: []int64{}, Data: []byte{1}})
}

func number(v float32) optest.Arg { return fixed(onnxgraph.Scalar("", v)) }

func check(t *testing.T, rows []row) {
	t.Helper()
	engine := runtimetest.Engine(t)
	for _, r := range rows {
		t.Run(r.Name(), func(t *testing.T) { optest.Check(t, engine, ops.Registry(), r) })
	}
}

func TestElementwise(t *testing.T) {
	var rows []row
	for _, name := range []string{"Neg", "Exp", "Erf", "Sigmoid", "Tanh", "Softplus", "Identity", "Dropout"} {
		rows = append(rows, row{Op: name, In: in(normal(3, 4)), Reason: "smooth everywhere"})
	}
	for _, name := range []string{"Sqrt", "Log", "Reciprocal"} {
		rows = append(rows, row{Op: name, In: in(uniform(0.5, 2, 2, 5)), Reason: "positive"})
	}
	for _, name := range []string{"Relu", "Abs"} {
		rows = append(rows, row{Op: name, In: in(apart(4, 3)), Reason: "off the kink"},
			row{Op: name, Opset: 13, In: in(apart(8)), Reason: "lowest opset"})
	}
	for _, name := range []string{"Add", "Sub", "Mul"} {
		rows = append(rows,
			row{Op: name, In: in(normal(2, 3), normal(2, 3)), Reason: "equal shapes"},
			row{Op: name, In: in(normal(3, 1), normal(2, 1, 4)), Reason: "both broadcast"},
			row{Op: name, Opset: 13, In: in(normal(2, 3), normal()), Reason: "a scalar"})
	}
	rows = append(rows,
		row{Op: "Div", In: in(normal(2, 3), uniform(1, 2, 3)), Reason: "broadcast divisor"},
		row{Op: "Pow", In: in(uniform(0.5, 2, 3), uniform(-1, 2, 2, 3)), Reason: "both differentiable"},
		row{Op: "Pow", In: in(normal(4), number(2)), Tol: 2e-3, Reason: "square"},
		row{Op: "Pow", In: in(normal(4), number(3)), Tol: 2e-3, Reason: "cube"},
		row{Op: "Pow", In: in(uniform(1, 2, 4), number(0.5)), Tol: 2e-3, Reason: "root"},
		row{Op: "Pow", In: in(uniform(1, 2, 4), number(-1.5)), Tol: 2e-3, Reason: "any constant"},
		row{Op: "Pow", In: in(normal(4), integer(3)), Reason: "integer exponent"},
		row{Op: "Sum", In: in(normal(2, 3), normal(3), normal(2, 1)), Reason: "three, broadcast"},
		row{Op: "Mean", In: in(normal(2, 3), normal(3), normal(2, 1)), Reason: "three, broadcast"},
		row{Op: "Max", In: in(uniform(0, 1, 2, 3), uniform(2, 3, 3), uniform(-1, 0, 1)), Reason: "one wins"},
		row{Op: "Min", In: in(uniform(0, 1, 2, 3), uniform(2, 3, 3)), Reason: "one wins"},
		row{Op: "Clip", In: in(distinct(4, 5), number(-0.53), number(0.47)), Reason: "both limits"},
		row{Op: "Clip", In: in(distinct(4, 5), number(-0.53)), Reason: "lower limit"},
		row{Op: "Clip", In: in(distinct(4, 5), absent(), number(0.47)), Reason: "upper limit"},
		row{Op: "Dropout", Attrs: with(i("seed", 7)), In: in(apart(6, 5), number(0.4), yes()), Tol: 1e-3, Reason: "training"},
		row{Op: "Dropout", Attrs: with(i("seed", 7)), In: in(apart(6, 5), absent(), yes()), Outputs: 2, Tol: 1e-3, Reason: "training, default ratio"},
		row{Op: "Where", In: in(bools(1, 0, 1), normal(2, 3), normal(3)), Reason: "broadcast"},
		row{Op: "Cast", Attrs: with(i("to", 1)), In: in(normal(3)), Reason: "between floating-point types"},
	)
	check(t, rows)
}

func TestReductions(t *testing.T) {
	var rows []row
	for _, name := range []string{"ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceLogSum"} {
		x := distinct(2, 3, 4)
		if name == "ReduceLogSum" {
			x = uniform(1, 2, 2, 3, 4)
		}
		if name == "ReduceL1" || name == "ReduceProd" {
			x = apart(2, 3, 4)
		}
		axes := func(v ...int64) ([]optest.Arg, []*onnxgraph.Attribute) {
			if name == "ReduceSum" {
				return in(x, ints(v...)), nil
			}
			return in(x), with(is("axes", v...))
		}
		a1, attr1 := axes(1)
		a2, attr2 := axes(-1, 0)
		rows = append(rows,
			row{Op: name, In: in(x), Attrs: with(i("keepdims", 0)), Reason: "everything"},
			row{Op: name, Opset: 13, In: a1, Attrs: attr1, Reason: "one axis, kept"},
			row{Op: name, In: a2, Attrs: append(attr2, i("keepdims", 0)), Reason: "two axes, dropped"},
			row{Op: name, Opset: 18, In: in(x, ints(0, 2)), Attrs: with(i("keepdims", 0)), Reason: "axes as an input"},
		)
	}
	for _, name := range []string{"ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMin", "ReduceProd"} {
		rows = append(rows, row{Op: name, Opset: 18, In: in(uniform(0.5, 2, 2, 3)), Attrs: with(i("noop_with_empty_axes", 1), i("keepdims", 0)), Reason: "no axes"})
	}
	rows = append(rows,
		row{Op: "ReduceMean", In: in(normal(3, 4)), Free: []int{0, 1}, Attrs: with(i("keepdims", 0)), Reason: "of any extents"},
		row{Op: "ReduceProd", Attrs: with(is("axes", 1)), In: in(optest.Given([]int64{3, 3}, 2, 0, 3, 0, 0, 1, 1.5, -2, 0.5)), Reason: "one zero, two, none"},
		row{Op: "ReduceL2", Attrs: with(is("axes", 1)), In: in(optest.Given([]int64{2, 2}, 3, 4, -1, 0)), Reason: "a zero element"},
		row{Op: "ReduceSum", In: in(normal(2, 3), ints()), Attrs: with(i("noop_with_empty_axes", 0)), Reason: "empty axes mean all"},
		row{Op: "ReduceSum", In: in(normal(2, 3), ints()), Attrs: with(i("noop_with_empty_axes", 1)), Reason: "empty axes mean none", Linear: true},
		row{Op: "Softmax", In: in(normal(2, 3, 4)), Attrs: with(i("axis", 1)), Reason: "middle axis"},
		row{Op: "Softmax", Opset: 13, In: in(normal(2, 5)), Reason: "last axis by default"},
		row{Op: "LogSoftmax", In: in(normal(2, 3, 4)), Attrs: with(i("axis", 1)), Reason: "middle axis"},
		row{Op: "LogSoftmax", In: in(normal(2, 5)), Reason: "last axis by default"},
		row{Op: "CumSum", In: in(normal(3, 4), integer(1)), Reason: "last axis"},
		row{Op: "CumSum", In: in(normal(3, 4), integer(0)), Attrs: with(i("exclusive", 1), i("reverse", 1)), Reason: "exclusive and reversed"},
		row{Op: "CumSum", In: in(normal(3, 4), integer(-1)), Attrs: with(i("exclusive", 1)), Reason: "exclusive"},
		row{Op: "CumProd", Opset: 26, In: in(apart(3, 4), integer(1)), Reason: "last axis"},
		row{Op: "CumProd", Opset: 26, In: in(apart(3, 4), integer(0)), Attrs: with(i("exclusive", 1), i("reverse", 1)), Reason: "exclusive and reversed"},
		row{Op: "CumProd", Opset: 26, In: in(given([]int64{4, 4}, 0.5, 2, -1, 3, 0.7, 0, 2, -1.5, 0, 2, 0, 4, 3, 1, 2, 0), integer(1)), Reason: "no, one and two zeros"},
		row{Op: "CumProd", Opset: 26, In: in(given([]int64{2, 4}, 0.7, 0, 2, -1.5, 3, 1, 2, 0), integer(-1)), Attrs: with(i("reverse", 1)), Reason: "a zero, reversed"},
	)
	check(t, rows)
}

func TestProducts(t *testing.T) {
	rows := []row{
		{Op: "MatMul", In: in(normal(3, 4), normal(4, 2)), Reason: "matrices"},
		{Op: "MatMul", In: in(normal(2, 3, 4), normal(4, 2)), Reason: "shared right matrix"},
		{Op: "MatMul", In: in(normal(2, 3, 4), normal(4, 2)), Free: []int{0, 1}, Reason: "any batch and length"},
		{Op: "MatMul", In: in(normal(3, 4), normal(2, 4, 2)), Reason: "shared left matrix"},
		{Op: "MatMul", In: in(normal(2, 1, 3, 4), normal(5, 4, 2)), Reason: "both broadcast"},
		{Op: "MatMul", In: in(normal(4), normal(4, 2)), Reason: "row vector"},
		{Op: "MatMul", In: in(normal(3, 4), normal(4)), Reason: "column vector"},
		{Op: "MatMul", In: in(normal(2, 3, 4), normal(4)), Reason: "batch times vector"},
		{Op: "MatMul", In: in(normal(4), normal(2, 4, 3)), Reason: "vector times batch"},
		{Op: "MatMul", In: in(normal(4), normal(4)), Reason: "inner product"},
		{Op: "Gemm", In: in(normal(3, 4), normal(4, 2), normal(2)), Reason: "plain"},
		{Op: "Gemm", In: in(normal(3, 4), normal(2, 4), normal(3, 1)), Attrs: with(i("transB", 1), f("alpha", 0.5), f("beta", 2)), Reason: "right transposed"},
		{Op: "Gemm", In: in(normal(4, 3), normal(4, 2)), Attrs: with(i("transA", 1)), Reason: "left transposed, no C"},
		{Op: "Gemm", In: in(normal(4, 3), normal(2, 4), normal()), Attrs: with(i("transA", 1), i("transB", 1), f("alpha", -1)), Reason: "both transposed"},
		{Op: "Einsum", In: in(normal(2, 3, 4), normal(2, 4, 5)), Attrs: with(s("equation", "bij,bjk->bik")), Reason: "batched product"},
		{Op: "Einsum", In: in(normal(2, 3, 4), normal(4, 5)), Attrs: with(s("equation", "...j,jk->...k")), Reason: "ellipsis"},
		{Op: "Einsum", In: in(normal(2, 3), normal(3, 4), normal(4)), Attrs: with(s("equation", "ij,jk,k")), Reason: "implicit output, three terms"},
		{Op: "Einsum", In: in(normal(2, 3, 4), normal(3)), Attrs: with(s("equation", "ijk,j->i")), Reason: "an axis of its own is summed"},
		{Op: "Einsum", In: in(normal(2, 3)), Attrs: with(s("equation", "ij->ji")), Reason: "transposition"},
	}
	for n := range rows {
		rows[n].Linear = true
	}
	check(t, rows)
}

func TestShapes(t *testing.T) {
	rows := []row{
		{Op: "Range", In: in(given([]int64{}, 0.5), given([]int64{}, 3.2).NoGrad(), given([]int64{}, 0.7)), Reason: "numbers"},
		{Op: "Reshape", In: in(normal(2, 3, 4), ints(0, -1)), Reason: "copy and infer"},
		{Op: "Flatten", In: in(normal(2, 3, 4)), Free: []int{0, 1, 2}, Attrs: with(i("axis", 2)), Reason: "in the middle"},
		{Op: "Slice", In: in(normal(5, 4), ints(1, -3), ints(4, 1<<40)), Free: []int{0, 1}, Reason: "of any extents"},
		{Op: "Slice", In: in(normal(7, 4), ints(1), ints(7), ints(0), ints(3)), Free: []int{0, 1}, Reason: "of any extents, with a step"},
		{Op: "Concat", In: in(normal(2, 3), normal(1, 3)), Free: []int{0, 1}, Attrs: with(i("axis", 0)), Reason: "of any extents"},
		{Op: "Tile", In: in(normal(2, 3), ints(2, 2)), Free: []int{0, 1}, Reason: "of any extents"},
		{Op: "Gather", In: in(normal(2, 5, 3), indices([]int64{2, 2}, 3, 1, 1, -1)), Free: []int{0, 1, 2}, Attrs: with(i("axis", 1)), Reason: "of any extents"},
		{Op: "Pad", In: in(normal(3, 4), ints(1, 2, 1, 0)), Free: []int{0, 1}, Attrs: with(s("mode", "reflect")), Reason: "reflect, of any extents"},
		{Op: "Flatten", In: in(normal(2, 3)), Attrs: with(i("axis", 0)), Reason: "all in one row"},
		{Op: "Squeeze", In: in(normal(2, 1, 3, 1), ints(1)), Reason: "one of two"},
		{Op: "Squeeze", In: in(normal(2, 1, 3, 1)), Static: true, Reason: "all"},
		{Op: "Unsqueeze", In: in(normal(2, 3), ints(0, -1)), Reason: "both ends"},
		{Op: "Transpose", In: in(normal(2, 3, 4)), Attrs: with(is("perm", 2, 0, 1)), Reason: "a cycle"},
		{Op: "Transpose", In: in(normal(2, 3)), Reason: "reversal by default"},
		{Op: "Concat", In: in(normal(2, 3), normal(2, 1), normal(2, 2)), Attrs: with(i("axis", -1)), Reason: "three"},
		{Op: "Concat", In: in(normal(2, 3)), Attrs: with(i("axis", 0)), Reason: "one"},
		{Op: "Split", In: in(normal(2, 5), ints(2, 3)), Attrs: with(i("axis", 1)), Outputs: 2, Reason: "given lengths"},
		{Op: "Split", In: in(normal(2, 5), ints(1, 3, 1)), Attrs: with(i("axis", 1)), Outputs: 3, Skip: []int{1}, Reason: "an output without gradient"},
		{Op: "Split", Opset: 18, In: in(normal(5, 2)), Attrs: with(i("num_outputs", 2)), Outputs: 2, Reason: "smaller last piece"},
		{Op: "Split", In: in(normal(4, 2)), Outputs: 2, Reason: "equal pieces"},
		{Op: "Slice", In: in(normal(5, 4), ints(1), ints(4), ints(0)), Reason: "a piece"},
		{Op: "Slice", In: in(normal(5, 4), ints(-3, 1), ints(1<<40, -1)), Reason: "negative bounds, to the end"},
		{Op: "Slice", In: in(normal(7, 4), ints(1, 0), ints(7, 3), ints(0, 1), ints(3, 1)), Reason: "with a step"},
		{Op: "Slice", In: in(normal(5), ints(-1), ints(-1<<40), ints(0), ints(-2)), Reason: "backwards"},
		{Op: "Pad", In: in(normal(2, 3), ints(1, 0, 2, 1)), Reason: "zeros"},
		{Op: "Pad", In: in(normal(2, 4), ints(1, -1, 0, -1), number(0.5)), Reason: "cut and pad"},
		{Op: "Pad", In: in(normal(3, 4), ints(1, 2, 1, 0)), Attrs: with(s("mode", "reflect")), Reason: "reflect"},
		{Op: "Pad", In: in(normal(3, 4), ints(0, 2, 0, 3)), Attrs: with(s("mode", "edge")), Reason: "edge"},
		{Op: "Pad", Opset: 18, In: in(normal(3, 4), ints(1, 2), absent(), ints(1)), Reason: "axes given"},
		{Op: "Tile", In: in(normal(2, 3), ints(2, 1)), Reason: "first axis"},
		{Op: "Tile", In: in(normal(2, 3), ints(3, 2)), Reason: "both axes"},
		{Op: "Expand", In: in(normal(3, 1), ints(2, 1, 4)), Reason: "new and broadcast axes"},
		{Op: "Gather", In: in(normal(5, 3), indices([]int64{2, 3}, 0, 4, 4, 1, -1, 0)), Reason: "rows, repeated"},
		{Op: "Gather", Opset: 13, In: in(normal(5, 3), indices([]int64{2, 3}, 0, 4, 4, 1, 4, 0)), Reason: "before addition in ScatterElements"},
		{Op: "Gather", Opset: 13, In: in(normal(2, 5, 3), indices([]int64{4}, 0, 4, 4, 1)), Attrs: with(i("axis", 1)), Reason: "middle axis before opset 16"},
		{Op: "Gather", In: in(normal(2, 5, 3), indices([]int64{2}, 3, 1)), Attrs: with(i("axis", 1)), Reason: "distinct, middle axis"},
		{Op: "Gather", In: in(normal(2, 5), integer(-2)), Attrs: with(i("axis", 1)), Reason: "one position"},
		{Op: "GatherElements", In: in(normal(3, 4), indices([]int64{3, 1}, 2, 0, 2)), Attrs: with(i("axis", 1)), Reason: "one per row, as in cross-entropy"},
		{Op: "GatherElements", In: in(normal(3, 2), indices([]int64{4, 2}, 2, 0, 2, 1, 1, 1, 0, 0)), Reason: "repeated"},
		{Op: "ScatterElements", In: in(normal(3, 4), indices([]int64{3, 1}, 2, 0, 2), normal(3, 1)), Attrs: with(i("axis", 1)), Reason: "overwrite"},
		{Op: "ScatterElements", In: in(normal(3, 2), indices([]int64{4, 2}, 2, 0, 2, 1, 1, 1, 0, 0), normal(4, 2)), Attrs: with(s("reduction", "add")), Reason: "add, repeated"},
		{Op: "OneHot", In: in(indices([]int64{3}, 0, 2, 1), integer(4), normal(2)), Attrs: with(i("axis", 0)), Reason: "gradient of the values"},
	}
	for n := range rows {
		rows[n].Linear = true
	}
	check(t, rows)
}

func TestConvolutions(t *testing.T) {
	pads := func(v ...int64) *onnxgraph.Attribute { return is("pads", v...) }
	rows := []row{
		{Op: "Conv", In: in(normal(2, 1, 7, 7), normal(4, 1, 3, 3), normal(4)), Attrs: with(is("strides", 2, 2)), Reason: "first layer of the convnet"},
		{Op: "Conv", In: in(normal(2, 9, 5, 5), normal(3, 9, 3, 3), normal(3)), Attrs: with(pads(1, 1, 1, 1)), Reason: "channels last"},
		{Op: "Conv", In: in(normal(2, 8, 6, 7), normal(3, 8, 3, 2)), Attrs: with(pads(1, 0, 2, 1), is("strides", 2, 3)), Reason: "channels last, uneven pads and strides"},
		{Op: "Conv", In: in(normal(2, 8, 8, 9), normal(3, 8, 2, 3)), Attrs: with(is("dilations", 3, 2), is("strides", 2, 1)), Reason: "channels last, dilated"},
		{Op: "Conv", In: in(normal(2, 3, 8, 9), normal(4, 3, 2, 3)), Attrs: with(is("dilations", 3, 2), is("strides", 2, 3), pads(1, 2, 0, 1)), Reason: "dilated and strided"},
		{Op: "Conv", In: in(normal(2, 4, 5, 5), normal(6, 2, 3, 3), normal(6)), Attrs: with(i("group", 2), pads(1, 1, 1, 1)), Reason: "two groups"},
		{Op: "Conv", In: in(normal(2, 4, 6, 6), normal(8, 1, 3, 3)), Attrs: with(i("group", 4), is("strides", 2, 2)), Reason: "depthwise"},
		{Op: "Conv", In: in(normal(2, 3, 6, 6), normal(4, 3, 3, 3)), Attrs: with(s("auto_pad", "SAME_UPPER"), is("strides", 2, 2)), Reason: "SAME_UPPER with stride"},
		{Op: "Conv", In: in(normal(2, 3, 5, 6), normal(4, 3, 2, 2)), Attrs: with(s("auto_pad", "SAME_LOWER")), Reason: "SAME_LOWER"},
		{Op: "Conv", In: in(normal(2, 3, 5, 6), normal(4, 3, 2, 2)), Attrs: with(s("auto_pad", "VALID")), Reason: "VALID"},
		{Op: "Conv", In: in(normal(2, 8, 9), normal(3, 8, 3), normal(3)), Attrs: with(pads(1, 1), is("strides", 2)), Reason: "one-dimensional"},
		{Op: "Conv", In: in(normal(2, 3, 9), normal(2, 3, 4)), Reason: "one-dimensional, few channels"},
		{Op: "Conv", In: in(normal(2, 8, 4, 5, 4), normal(3, 8, 2, 3, 2), normal(3)), Attrs: with(pads(1, 0, 0, 0, 1, 1), is("strides", 1, 2, 1)), Reason: "three-dimensional"},
		{Op: "Conv", In: in(normal(2, 3, 8, 9), normal(4, 3, 2, 3), normal(4)), Free: []int{0, 2, 3}, Attrs: with(is("dilations", 3, 2), pads(1, 2, 0, 1)), Reason: "few channels, dilated, images of any size"},
		{Op: "Conv", In: in(normal(2, 1, 7, 6), normal(3, 1, 4, 4)), Attrs: with(pads(1, 2, 2, 1)), Reason: "few channels, many taps"},
		{Op: "Conv", In: in(normal(2, 9, 4, 4), normal(5, 9, 1, 1)), Reason: "1x1"},
		{Op: "Conv", In: in(normal(2, 5, 6, 7), normal(4, 5, 1, 1), normal(4)), Free: []int{0, 2, 3}, Attrs: with(is("strides", 2, 3)), Reason: "1x1, strided"},
		{Op: "Conv", In: in(normal(2, 5, 4, 4), normal(3, 5, 1, 1)), Attrs: with(pads(1, 0, 0, 2)), Reason: "1x1, padded"},
		{Op: "Conv", In: in(normal(2, 5, 6, 7), normal(17, 5, 3, 2)), Attrs: with(pads(1, 0, 2, 1), is("dilations", 1, 2)), Reason: "many output channels"},
		{Op: "Conv", In: in(normal(2, 3, 8, 7), normal(4, 3, 3, 2)), Free: []int{0, 2, 3}, Attrs: with(is("strides", 2, 3), pads(1, 0, 0, 1)), Reason: "images of any size"},
		{Op: "Conv", In: in(normal(2, 8, 6, 7), normal(4, 8, 3, 3)), Free: []int{2, 3}, Attrs: with(pads(1, 1, 1, 1)), Reason: "images of any size, channels last"},
		{Op: "Conv", In: in(normal(2, 4, 6, 7), normal(4, 2, 3, 3)), Free: []int{0, 2, 3}, Attrs: with(i("group", 2)), Reason: "images of any size, groups"},
		{Op: "ConvTranspose", In: in(normal(2, 3, 4, 5), normal(3, 4, 3, 3)), Free: []int{0, 2, 3}, Attrs: with(is("strides", 2, 2), is("output_padding", 1, 0)), Reason: "images of any size"},
		{Op: "AveragePool", In: in(normal(2, 3, 5, 6)), Free: []int{0, 1, 2, 3}, Attrs: with(is("kernel_shape", 3, 2), pads(1, 1, 1, 0), is("strides", 2, 2)), Reason: "images of any size"},
		{Op: "GlobalAveragePool", In: in(normal(2, 3, 4, 5)), Free: []int{0, 2, 3}, Reason: "images of any size"},
		{Op: "MaxPool", In: in(distinct(2, 3, 6, 6)), Free: []int{0, 1, 2, 3}, Attrs: with(is("kernel_shape", 3, 3), is("strides", 2, 2)), Reason: "images of any size"},
		{Op: "ConvTranspose", In: in(normal(2, 3, 4, 4), normal(3, 4, 3, 3), normal(4)), Attrs: with(is("strides", 2, 2), pads(1, 1, 1, 1), is("output_padding", 1, 1)), Reason: "upsampling"},
		{Op: "ConvTranspose", In: in(normal(2, 4, 4), normal(4, 2, 3)), Attrs: with(i("group", 2)), Reason: "groups, one-dimensional"},
		{Op: "ConvTranspose", In: in(normal(2, 3, 4, 3), normal(3, 9, 2, 3)), Attrs: with(is("strides", 2, 1), is("dilations", 1, 2)), Reason: "dilated, channels last"},
		{Op: "ConvTranspose", In: in(normal(1, 2, 4, 4), normal(2, 3, 3, 3)), Attrs: with(is("strides", 2, 2), is("output_shape", 8, 8)), Reason: "output_shape"},
		{Op: "ConvTranspose", In: in(normal(1, 2, 4, 4), normal(2, 3, 3, 3)), Attrs: with(is("strides", 2, 2), s("auto_pad", "SAME_UPPER")), Reason: "SAME_UPPER"},
		{Op: "AveragePool", In: in(normal(2, 3, 6, 6)), Attrs: with(is("kernel_shape", 2, 2), is("strides", 2, 2)), Reason: "disjoint"},
		{Op: "AveragePool", In: in(normal(2, 3, 5, 6)), Attrs: with(is("kernel_shape", 3, 2), pads(1, 1, 1, 0)), Reason: "overlapping, padding not counted"},
		{Op: "AveragePool", In: in(normal(2, 3, 5, 6)), Attrs: with(is("kernel_shape", 3, 2), pads(1, 1, 1, 0), i("count_include_pad", 1)), Reason: "padding counted"},
		{Op: "AveragePool", In: in(normal(1, 2, 6, 7)), Attrs: with(is("kernel_shape", 3, 3), is("strides", 2, 2), i("ceil_mode", 1)), Reason: "rounded up"},
		{Op: "AveragePool", In: in(normal(1, 2, 6, 7)), Attrs: with(is("kernel_shape", 3, 3), is("strides", 2, 2), s("auto_pad", "SAME_UPPER")), Reason: "SAME_UPPER"},
		{Op: "AveragePool", Opset: 19, In: in(normal(1, 2, 8)), Attrs: with(is("kernel_shape", 3), is("dilations", 2)), Reason: "dilated"},
		{Op: "GlobalAveragePool", In: in(normal(2, 3, 4, 5)), Reason: "two spatial axes"},
		{Op: "MaxPool", In: in(distinct(2, 3, 6, 6)), Attrs: with(is("kernel_shape", 2, 2), is("strides", 2, 2)), Reason: "disjoint"},
		{Op: "MaxPool", In: in(distinct(2, 2, 5, 5)), Attrs: with(is("kernel_shape", 3, 3), pads(1, 1, 1, 1), is("strides", 2, 2)), Reason: "overlapping"},
		{Op: "MaxPool", In: in(distinct(1, 2, 6)), Attrs: with(is("kernel_shape", 3), is("strides", 2), i("ceil_mode", 1)), Reason: "rounded up"},
		{Op: "MaxPool", Opset: 13, In: in(distinct(2, 2, 4, 4)), Attrs: with(is("kernel_shape", 2, 2), is("strides", 2, 2)), Reason: "disjoint, low opset"},
		{Op: "GlobalMaxPool", In: in(distinct(2, 3, 4, 5)), Reason: "two spatial axes"},
	}
	for n := range rows {
		// The step of the differences must not change which element is the maximum.
		rows[n].Linear = rows[n].Op != "MaxPool" && rows[n].Op != "GlobalMaxPool"
	}
	check(t, rows)
}

func TestNormalization(t *testing.T) {
	check(t, []row{
		{Op: "BatchNormalization", In: in(normal(3, 2, 4), normal(2), normal(2), normal(2), uniform(0.5, 2, 2)), Reason: "given statistics"},
		{Op: "BatchNormalization", In: in(normal(3, 2), normal(2), normal(2), normal(2), uniform(0.5, 2, 2)), Reason: "given statistics, no spatial axes"},
		{Op: "BatchNormalization", In: in(normal(4, 2, 3, 3), normal(2), normal(2), normal(2).NoGrad(), uniform(0.5, 2, 2).NoGrad()),
			Attrs: with(i("training_mode", 1), f("epsilon", 1e-3)), Outputs: 3, Skip: []int{1, 2}, Reason: "statistics of the batch"},
		{Op: "BatchNormalization", In: in(normal(4, 2, 3, 3), normal(2), normal(2), normal(2).NoGrad(), uniform(0.5, 2, 2).NoGrad()),
			Attrs: with(i("training_mode", 1), f("momentum", 0), f("epsilon", 1e-3)), Outputs: 3, Skip: []int{1, 2}, Reason: "statistics of the batch, given by the operator"},
	})
}
