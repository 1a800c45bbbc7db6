package ops_test

import (
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
)

// Rows of operators without a gradient, and of old opsets: types and shapes
// as inferred and as executed.
func TestInferenceAgainstExecution(t *testing.T) {
	var rows []row
	for _, name := range []string{"Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"} {
		rows = append(rows, row{Op: name, In: in(normal(2, 3), normal(3)), Reason: "broadcast"})
	}
	for _, name := range []string{"And", "Or", "Xor"} {
		rows = append(rows, row{Op: name, In: in(bools(1, 0, 1), bools(1)), Reason: "broadcast"})
	}
	for _, name := range []string{"Floor", "Ceil", "Round", "Sign"} {
		rows = append(rows, row{Op: name, In: in(normal(2, 3)), Reason: "plain"})
	}
	for _, name := range []string{"ReduceMean", "ReduceSum", "ReduceMax"} {
		rows = append(rows, row{Op: name, Opset: 11, Attrs: with(is("axes", -1)), In: in(normal(2, 3)), Reason: "axes as an attribute"})
	}
	rows = append(rows,
		row{Op: "Not", In: in(bools(1, 0)), Reason: "plain"},
		row{Op: "Shape", In: in(normal(2, 3, 4)), Reason: "whole"},
		row{Op: "Shape", Attrs: with(i("start", -2), i("end", 10)), In: in(normal(2, 3, 4)), Reason: "a part"},
		row{Op: "Size", In: in(normal(2, 3, 4)), Reason: "plain"},
		row{Op: "NonZero", In: in(normal(2, 3)), Reason: "matrix"},
		row{Op: "Range", In: in(integer(2), integer(9), integer(3)), Reason: "integers"},
		row{Op: "Range", In: in(integer(9), integer(2), integer(-3)), Reason: "downwards"},
		row{Op: "ConstantOfShape", In: in(ints(2, 3)), Reason: "float by default"},
		row{Op: "Constant", Attrs: with(is("value_ints", 1, 2)), Reason: "integers"},
		row{Op: "Cast", Opset: 12, Attrs: with(i("to", 7)), In: in(normal(2)), Reason: "to integers"},
		row{Op: "Softmax", Opset: 11, In: in(normal(2, 3, 4)), Reason: "over all trailing axes"},
		row{Op: "Squeeze", Opset: 11, Attrs: with(is("axes", 1)), In: in(normal(2, 1, 3)), Reason: "axes as an attribute"},
		row{Op: "Unsqueeze", Opset: 11, Attrs: with(is("axes", 1, 3)), In: in(normal(2, 3)), Reason: "axes as an attribute"},
		row{Op: "Slice", Opset: 9, Attrs: with(is("starts", 1), is("ends", -1), is("axes", 1)), In: in(normal(2, 5)), Reason: "bounds as attributes"},
		row{Op: "Pad", Opset: 10, Attrs: with(is("pads", 0, 1, 0, 2)), In: in(normal(2, 5)), Reason: "pads as an attribute"},
		row{Op: "Clip", Opset: 10, Attrs: with(f("min", -1)), In: in(normal(2)), Reason: "limits as attributes"},
		row{Op: "Dropout", Opset: 10, Attrs: with(f("ratio", 0.3)), In: in(normal(2)), Outputs: 2, Reason: "mask of type bool"},
		row{Op: "BatchNormalization", Opset: 9, In: in(normal(2, 3, 4), normal(3), normal(3), normal(3), uniform(1, 2, 3)), Reason: "inference"},
		row{Op: "Split", Opset: 11, Attrs: with(is("split", 1, 2), i("axis", 1)), In: in(normal(2, 3)), Outputs: 2, Reason: "lengths as an attribute"},
		row{Op: "MaxPool", In: in(normal(1, 1, 5, 5)), Attrs: with(is("kernel_shape", 2, 2), is("strides", 3, 3), i("ceil_mode", 1)), Outputs: 2, Reason: "a window in the padding is left out"},
		row{Op: "AveragePool", Opset: 10, In: in(normal(1, 1, 7)), Attrs: with(is("kernel_shape", 3), is("strides", 2), i("ceil_mode", 1), is("pads", 1, 1)), Reason: "rounded up"},
		row{Op: "OneHot", Opset: 11, In: in(indices([]int64{2}, 1, 0), integer(3), fixed(onnxgraph.Floats("", []int64{2}, []float32{0, 1}))), Reason: "last axis"},
		row{Op: "Tile", Opset: 7, In: in(normal(2, 3), ints(1, 2)), Reason: "opset 7"},
		row{Op: "Flatten", Opset: 9, In: in(normal(2, 3, 4)), Reason: "opset 9"},
	)
	check(t, rows)
}

var (
	batch = onnxgraph.Sym("batch")
	seq   = onnxgraph.Sym("seq")
)

func shape(d ...onnxgraph.Dim) onnxgraph.Shape { return onnxgraph.Shape(d) }

func dim(n int64) onnxgraph.Dim { return onnxgraph.Known(n) }

// chain is a graph whose last value has the wanted shape.
type chain struct {
	name  string
	build func(b *onnxgraph.Builder, x string) string
	want  string
}

// TestChains follows computed shapes the way exporters write them; x is
// [batch, seq, 12].
func TestChains(t *testing.T) {
	vec := func(b *onnxgraph.Builder, v ...int64) string { return b.Const(onnxgraph.Vector("", v...)) }
	one := func(b *onnxgraph.Builder, v int64) string {
		return b.Const(onnxgraph.Int64s("", []int64{}, []int64{v}))
	}
	size := func(b *onnxgraph.Builder, x string, axis int64) string {
		return b.Op("Gather", []string{b.Op("Shape", []string{x}), one(b, axis)})
	}
	wide := func(b *onnxgraph.Builder, v string) string { return b.Op("Unsqueeze", []string{v, vec(b, 0)}) }
	join := func(b *onnxgraph.Builder, v ...string) string { return b.Op("Concat", v, i("axis", 0)) }
	rows := []chain{
		{"heads", func(b *onnxgraph.Builder, x string) string {
			target := join(b, wide(b, size(b, x, 0)), wide(b, size(b, x, 1)), vec(b, 3, -1))
			return b.Op("Reshape", []string{x, target})
		}, "[batch,seq,3,4]"},
		{"heads, computed width", func(b *onnxgraph.Builder, x string) string {
			width := b.Op("Div", []string{size(b, x, 2), one(b, 3)})
			target := join(b, wide(b, size(b, x, 0)), wide(b, size(b, x, 1)), vec(b, 3), wide(b, width))
			return b.Op("Reshape", []string{x, target})
		}, "[batch,seq,3,4]"},
		{"rows and back", func(b *onnxgraph.Builder, x string) string {
			flat := b.Op("Reshape", []string{x, vec(b, -1, 12)})
			return b.Op("Reshape", []string{flat, b.Op("Shape", []string{x})})
		}, "[batch,seq,12]"},
		{"rows", func(b *onnxgraph.Builder, x string) string {
			return b.Op("Reshape", []string{x, vec(b, -1, 12)})
		}, "[batch*seq,12]"},
		{"split of the last axis", func(b *onnxgraph.Builder, x string) string {
			return b.Op("Reshape", []string{x, vec(b, 0, 0, 4, -1)})
		}, "[batch,seq,4,3]"},
		{"two free extents", func(b *onnxgraph.Builder, x string) string {
			return b.Op("Reshape", []string{x, vec(b, 0, -1, 6)})
		}, "[batch,2*seq,6]"},
		{"rows of an unknown number", func(b *onnxgraph.Builder, x string) string {
			chosen := b.Op("Greater", []string{b.Op("ReduceSum", []string{x, vec(b, 1, 2)}, i("keepdims", 0)), b.Const(onnxgraph.Scalar("", 0))})
			return b.Op("Reshape", []string{b.Op("Compress", []string{x, chosen}, i("axis", 0)), vec(b, 0, -1)})
		}, "[?,12*seq]"},
		{"causal mask", func(b *onnxgraph.Builder, x string) string {
			n := size(b, x, 1)
			positions := b.Op("Range", []string{one(b, 0), n, one(b, 1)})
			return b.Op("Less", []string{b.Op("Unsqueeze", []string{positions, vec(b, 0)}), b.Op("Unsqueeze", []string{positions, vec(b, 1)})})
		}, "[seq,seq]"},
		{"positions", func(b *onnxgraph.Builder, x string) string {
			table := b.Init(onnxgraph.Floats("table", []int64{64, 12}, make([]float32, 64*12)))
			return b.Op("Slice", []string{table, vec(b, 0), wide(b, size(b, x, 1)), vec(b, 0)})
		}, "[seq,12]"},
		{"past and present", func(b *onnxgraph.Builder, x string) string {
			past := b.Input("past", onnxgraph.Float, shape(batch, onnxgraph.Sym("past"), dim(12)))
			return b.Op("Concat", []string{past, x}, i("axis", 1))
		}, "[batch,past + seq,12]"},
		{"last position", func(b *onnxgraph.Builder, x string) string {
			return b.Op("Slice", []string{x, vec(b, -1), vec(b, 1<<62), vec(b, 1)})
		}, "[batch,1,12]"},
		{"all but the last", func(b *onnxgraph.Builder, x string) string {
			return b.Op("Slice", []string{x, vec(b, 0), vec(b, -1), vec(b, 1)})
		}, "[batch,seq - 1,12]"},
		{"expand to", func(b *onnxgraph.Builder, x string) string {
			cls := b.Init(onnxgraph.Floats("cls", []int64{1, 1, 12}, make([]float32, 12)))
			return b.Op("Expand", []string{cls, join(b, wide(b, size(b, x, 0)), vec(b, 1, 1))})
		}, "[batch,1,12]"},
		{"zeros", func(b *onnxgraph.Builder, x string) string {
			s := b.Op("Slice", []string{b.Op("Shape", []string{x}), vec(b, 0), vec(b, 2), vec(b, 0)})
			return b.Op("ConstantOfShape", []string{s})
		}, "[batch,seq]"},
		{"through floating point", func(b *onnxgraph.Builder, x string) string {
			v := b.Op("Cast", []string{size(b, x, 1)}, i("to", 1))
			v = b.Op("Floor", []string{b.Op("Mul", []string{v, b.Const(onnxgraph.Scalar("", 2))})})
			return b.Op("ConstantOfShape", []string{wide(b, b.Op("Cast", []string{v}, i("to", 7)))})
		}, "[2*seq]"},
		{"half, rounded down", func(b *onnxgraph.Builder, x string) string {
			v := b.Op("Div", []string{b.Op("Add", []string{size(b, x, 1), one(b, 1)}), one(b, 2)})
			return b.Op("ConstantOfShape", []string{wide(b, v)})
		}, "[floor((seq + 1)/(2))]"},
		{"static throughout", func(b *onnxgraph.Builder, x string) string {
			v := b.Op("Sub", []string{b.Op("Mul", []string{size(b, x, 2), one(b, 5)}), one(b, 7)})
			return b.Op("ConstantOfShape", []string{wide(b, v)})
		}, "[53]"},
		{"minus one survives arithmetic", func(b *onnxgraph.Builder, x string) string {
			v := join(b, vec(b, 0), b.Op("Neg", []string{vec(b, 1)}))
			return b.Op("Reshape", []string{x, v})
		}, "[batch,12*seq]"},
		{"product of a shape", func(b *onnxgraph.Builder, x string) string {
			n := b.Op("ReduceProd", []string{b.Op("Shape", []string{x})}, i("keepdims", 1))
			return b.Op("Reshape", []string{x, n})
		}, "[12*batch*seq]"},
		{"a choice", func(b *onnxgraph.Builder, x string) string {
			s := b.Op("Shape", []string{x})
			v := b.Op("Where", []string{b.Op("Equal", []string{vec(b, 1, -1, 1), vec(b, -1, -1, -1)}), s, vec(b, 7, 7, 8)})
			return b.Op("ConstantOfShape", []string{v})
		}, "[7,seq,8]"},
		{"a choice among extents and -1", func(b *onnxgraph.Builder, x string) string {
			s := b.Op("Reshape", []string{join(b, wide(b, size(b, x, 0)), vec(b, -1), wide(b, size(b, x, 1))), vec(b, -1)})
			one := b.Op("ConstantOfShape", []string{b.Op("Shape", []string{s})}, onnxgraph.TensorAttr("value", onnxgraph.Vector("", 1)))
			keep := b.Op("Equal", []string{s, b.Op("Mul", []string{one, vec(b, -1)})})
			return b.Op("Expand", []string{b.Op("Slice", []string{x, vec(b, 0), vec(b, 1), vec(b, 2)}), b.Op("Where", []string{keep, one, s})})
		}, "[batch,seq,seq]"},
		{"heads behind a sum of two lengths", func(b *onnxgraph.Builder, x string) string {
			y := b.Input("y", onnxgraph.Float, shape(batch, onnxgraph.Sym("other"), dim(12)))
			x = b.Op("Add", []string{b.Op("Add", []string{x, y}), x})
			return b.Op("Reshape", []string{x, join(b, wide(b, size(b, x, 0)), wide(b, size(b, x, 1)), vec(b, -1, 4))})
		}, "[batch,either(other, seq),3,4]"},
		{"an axis counted from the end", func(b *onnxgraph.Builder, x string) string {
			axis := b.Op("Mod", []string{one(b, -1), one(b, 3)})
			s := b.Op("Slice", []string{b.Op("Shape", []string{x}), vec(b, 0), b.Op("Reshape", []string{axis, vec(b, -1)})})
			return b.Op("Reshape", []string{x, join(b, s, vec(b, 3, 4))})
		}, "[batch,seq,3,4]"},
		{"an axis counted from the end, as in C", func(b *onnxgraph.Builder, x string) string {
			rest := b.Op("Mod", []string{one(b, -4), one(b, 3)}, i("fmod", 1))
			return b.Op("Reshape", []string{x, join(b, vec(b, 0), wide(b, rest))})
		}, "[batch,12*seq]"},
		{"pieces of a shape", func(b *onnxgraph.Builder, x string) string {
			p := b.OpN("Split", []string{b.Op("Shape", []string{x}), vec(b, 1, 2)}, 2, i("axis", 0))
			return b.Op("ConstantOfShape", []string{join(b, p[1], p[0])})
		}, "[seq,12,batch]"},
		{"scales of two constants", func(b *onnxgraph.Builder, x string) string {
			part := func(v ...float32) string {
				return b.Op("Constant", nil, onnxgraph.TensorAttr("value", onnxgraph.Floats("", []int64{int64(len(v))}, v)))
			}
			return b.Op("Resize", []string{x, "", join(b, part(1), part(2, 0.5))})
		}, "[batch,2*seq,6]"},
		{"convolution", func(b *onnxgraph.Builder, x string) string {
			w := b.Init(onnxgraph.Floats("w", []int64{5, 1, 3, 3}, make([]float32, 45)))
			return b.Op("Conv", []string{b.Op("Unsqueeze", []string{x, vec(b, 1)}), w}, is("strides", 1, 2), is("pads", 0, 1, 0, 1))
		}, "[batch,5,seq - 2,6]"},
		{"unknown target of known length", func(b *onnxgraph.Builder, x string) string {
			return b.Op("Reshape", []string{x, b.Input("target", onnxgraph.Int64, shape(dim(2)))})
		}, "[?,?]"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			b := onnxgraph.NewBuilder("chain", 17)
			out := r.build(b, b.Input("x", onnxgraph.Float, shape(batch, seq, dim(12))))
			m, err := b.Model()
			if err != nil {
				t.Fatal(err)
			}
			facts, err := infer.Run(m, ops.Registry(), infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := facts.Fact(out).Shape().String(); got != r.want {
				t.Errorf("shape %s, want %s", got, r.want)
			}
		})
	}
}

// TestRefusals: what is wrong is said with the node, the operator, the
// attribute and what was expected.
func TestRefusals(t *testing.T) {
	rows := []struct {
		op    string
		attrs []*onnxgraph.Attribute
		in    []onnxgraph.Shape
		want  string
	}{
		{"Conv", with(i("group", 3)), []onnxgraph.Shape{shape(dim(1), dim(64), dim(8)), shape(dim(6), dim(21), dim(3))},
			`infer: node "out" (Conv-17), attribute "group": 3 does not divide 64 channels`},
		{"Conv", nil, []onnxgraph.Shape{shape(dim(1), dim(4), dim(8)), shape(dim(6), dim(2), dim(3))}, "weight axis 1 is 2, expected 4 channels / 1 groups"},
		{"Conv", nil, []onnxgraph.Shape{shape(dim(1), dim(4), dim(2)), shape(dim(6), dim(4), dim(3))}, `attribute "kernel_shape": 3 positions do not fit`},
		{"Conv", with(is("strides", 0)), []onnxgraph.Shape{shape(dim(1), dim(4), dim(9)), shape(dim(6), dim(4), dim(3))}, `attribute "strides"`},
		{"Conv", with(s("auto_pad", "SOME")), []onnxgraph.Shape{shape(dim(1), dim(4), dim(9)), shape(dim(6), dim(4), dim(3))}, `attribute "auto_pad"`},
		{"MatMul", nil, []onnxgraph.Shape{shape(dim(2), dim(3)), shape(dim(4), dim(5))}, "inner extents 3 and 4 differ"},
		{"Gemm", with(i("transB", 1)), []onnxgraph.Shape{shape(dim(2), dim(3)), shape(dim(3), dim(5))}, "inner extents 3 and 5 differ"},
		{"Gemm", nil, []onnxgraph.Shape{shape(dim(2), dim(3), dim(1)), shape(dim(3), dim(5))}, "expected a matrix"},
		{"Add", nil, []onnxgraph.Shape{shape(dim(2), dim(3)), shape(dim(2))}, "shapes [2,3] and [2] do not broadcast"},
		{"Concat", with(i("axis", 0)), []onnxgraph.Shape{shape(dim(2), dim(3)), shape(dim(2), dim(4))}, "axis 1 differs"},
		{"Concat", nil, []onnxgraph.Shape{shape(dim(2))}, `attribute "axis": missing`},
		{"Transpose", with(is("perm", 0, 0)), []onnxgraph.Shape{shape(dim(2), dim(3))}, `attribute "perm": axis 0 is given twice`},
		{"Softmax", with(i("axis", 2)), []onnxgraph.Shape{shape(dim(2), dim(3))}, `attribute "axis": 2 is out of range for rank 2`},
		{"Flatten", with(i("axis", 4)), []onnxgraph.Shape{shape(dim(2), dim(3))}, `attribute "axis": 4 is out of range for rank 2`},
		{"ReduceMean", with(is("axes", 5)), []onnxgraph.Shape{shape(dim(2), dim(3))}, `attribute "axes": axis 5 is out of range for rank 2`},
		{"MaxPool", nil, []onnxgraph.Shape{shape(dim(1), dim(1), dim(4))}, `attribute "kernel_shape": missing`},
		{"Pad", with(s("mode", "mirror"), is("pads", 0, 0)), []onnxgraph.Shape{shape(dim(3))}, `attribute "mode": "mirror", expected`},
		{"Cast", with(i("to", 99)), []onnxgraph.Shape{shape(dim(3))}, `attribute "to": 99 is not a type`},
		{"Einsum", with(s("equation", "ij,jk->ik")), []onnxgraph.Shape{shape(dim(3))}, "the number of terms is not that of the inputs"},
		{"Einsum", with(s("equation", "ij,jk->ik")), []onnxgraph.Shape{shape(dim(3), dim(2)), shape(dim(3), dim(2))}, "label j has extents 2 and 3"},
		{"Einsum", with(s("equation", "ij->k")), []onnxgraph.Shape{shape(dim(3), dim(2))}, "output label k is in no input"},
		{"BatchNormalization", nil, []onnxgraph.Shape{shape(dim(1), dim(3)), shape(dim(4)), shape(dim(3)), shape(dim(3)), shape(dim(3))}, "expected one entry for each channel"},
		{"GatherElements", nil, []onnxgraph.Shape{shape(dim(3), dim(2)), shape(dim(3))}, "expected the rank of input 0"},
	}
	for _, r := range rows {
		b := onnxgraph.NewBuilder("refusal", 17)
		var inputs []string
		for k, sh := range r.in {
			inputs = append(inputs, b.Input(string(rune('a'+k)), onnxgraph.Float, sh))
		}
		b.Named("out", r.op, inputs, r.attrs...)
		m, err := b.Model()
		if err != nil {
			t.Fatal(err)
		}
		if _, err = infer.Run(m, ops.Registry(), infer.Options{}); err == nil || !strings.Contains(err.Error(), r.want) {
			t.Errorf("%s: error %v, want %q", r.op, err, r.want)
		}
	}
}
