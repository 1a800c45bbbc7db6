package ops_test

import (
	"math/rand/v2"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/optest"
)

// bytesOf is a constant of 8-bit numbers. Signed ones are small: without
// instructions for them, processors let sums of two products overflow.
func bytesOf(d onnxgraph.DType, dims ...int64) optest.Arg {
	n := int64(1)
	for _, x := range dims {
		n *= x
	}
	rng := rand.New(rand.NewPCG(uint64(n), uint64(d)))
	t := &onnxgraph.Tensor{DType: d, Dims: dims}
	for range n {
		v := rng.IntN(200)
		if d == onnxgraph.Int8 {
			v = rng.IntN(120) - 60
		}
		t.Data = append(t.Data, byte(v))
	}
	return fixed(t)
}

func u8(dims ...int64) optest.Arg { return bytesOf(onnxgraph.Uint8, dims...) }
func i8(dims ...int64) optest.Arg { return bytesOf(onnxgraph.Int8, dims...) }

// zero is a zero point.
func zero(d onnxgraph.DType, v ...int8) optest.Arg {
	t := &onnxgraph.Tensor{DType: d, Dims: []int64{int64(len(v))}}
	if len(v) == 1 {
		t.Dims = []int64{}
	}
	for _, x := range v {
		t.Data = append(t.Data, byte(x))
	}
	return fixed(t)
}

func scales(v ...float32) optest.Arg { return fixed(onnxgraph.Floats("", []int64{int64(len(v))}, v)) }

func int32s(dims []int64, v ...int32) optest.Arg {
	t := &onnxgraph.Tensor{DType: onnxgraph.Int32, Dims: dims}
	for _, x := range v {
		t.Data = append(t.Data, byte(x), byte(x>>8), byte(x>>16), byte(x>>24))
	}
	return fixed(t)
}

func TestQuantized(t *testing.T) {
	const U, I = onnxgraph.Uint8, onnxgraph.Int8
	pads := is("pads", 1, 1, 1, 1)
	check(t, []row{
		{Op: "QLinearMatMul", In: in(u8(3, 4), number(0.02), zero(U, 90), i8(4, 5), number(0.03), zero(I, -3), number(0.1), zero(U, 120)), Reason: "one scale each"},
		{Op: "QLinearMatMul", In: in(u8(3, 4), number(0.02), zero(U, 90), i8(4, 3), scales(0.03, 0.01, 0.02), zero(I, 0, 0, 0), number(0.1), zero(U, 120)), Reason: "a scale for each column"},
		{Op: "QLinearConv", Attrs: with(pads), In: in(u8(1, 2, 4, 4), number(0.02), zero(U, 90), i8(3, 2, 3, 3), number(0.03), zero(I, 0), number(0.2), zero(U, 120), int32s([]int64{3}, 100, -900, 4000)), Reason: "bias"},
		{Op: "QLinearConv", Attrs: with(pads, i("group", 2)), In: in(u8(1, 2, 4, 4), number(0.02), zero(U, 90), i8(2, 1, 3, 3), scales(0.03, 0.01), zero(I, 0, 0), number(0.2), zero(U, 120)), Reason: "a scale for each channel"},
		{Op: "ConvInteger", Attrs: with(pads), In: in(u8(1, 2, 4, 4), u8(3, 2, 3, 3), zero(U, 90), zero(U, 7)), Reason: "zero points"},
		{Op: "com.microsoft:QLinearConv", Attrs: with(pads, i("channels_last", 1)), In: in(u8(1, 4, 4, 2), number(0.02), zero(U, 90), i8(3, 2, 3, 3), number(0.03), zero(I, 0), number(0.2), zero(U, 120)), Reason: "channels last"},
		{Op: "com.microsoft:QLinearAdd", In: in(u8(3, 4), number(0.02), zero(U, 90), u8(4), number(0.013), zero(U, 3), number(0.031), zero(U, 120)), Reason: "broadcast"},
		{Op: "com.microsoft:QLinearMul", In: in(i8(3, 4), number(0.02), zero(I, -20), i8(3, 4), number(0.013), zero(I, 3), number(0.031), zero(I, 12)), Reason: "signed"},
		{Op: "com.microsoft:QLinearSigmoid", In: in(u8(3, 4), number(0.05), zero(U, 90), number(0.0041), zero(U, 0)), Reason: "table"},
		{Op: "com.microsoft:QLinearLeakyRelu", Attrs: with(f("alpha", 0.2)), In: in(u8(3, 4), number(0.05), zero(U, 90), number(0.041), zero(U, 60)), Reason: "slope"},
		{Op: "com.microsoft:QLinearSoftmax", Attrs: with(i("axis", 1), i("opset", 13)), In: in(fixed(&onnxgraph.Tensor{DType: U, Dims: []int64{2, 4}, Data: []byte{0, 200, 200, 0, 10, 10, 10, 10}}), number(0.1), zero(U, 90), number(0.0039), zero(U, 0)), Reason: "last axis"},
		{Op: "com.microsoft:QLinearGlobalAveragePool", In: in(u8(2, 3, 2, 4), number(0.05), zero(U, 90), number(0.03), zero(U, 100)), Reason: "channels first"},
		{Op: "com.microsoft:QLinearGlobalAveragePool", Attrs: with(i("channels_last", 1)), In: in(u8(2, 3, 2, 4), number(0.05), zero(U, 90), number(0.047), zero(U, 100)), Reason: "channels last"},
		{Op: "com.microsoft:QLinearConcat", Attrs: with(i("axis", 1)), In: in(number(0.031), zero(U, 60), u8(2, 3), number(0.05), zero(U, 90), u8(2, 2), number(0.02), zero(U, 9)), Reason: "two scales"},
		{Op: "com.microsoft:QLinearWhere", In: in(bools(1, 0, 1, 0), u8(3, 4), number(0.05), zero(U, 90), u8(3, 4), number(0.02), zero(U, 9), number(0.041), zero(U, 60)), Reason: "broadcast condition"},
		{Op: "com.microsoft:QGemm", Attrs: with(i("transB", 1), f("alpha", 0.5)), In: in(u8(3, 4), number(0.02), zero(U, 90), i8(5, 4), number(0.03), zero(I, 0), int32s([]int64{5}, 100, -900, 400, 0, 7), number(0.06), zero(U, 120)), Reason: "quantized result"},
		{Op: "com.microsoft:QGemm", In: in(u8(3, 4), number(0.02), zero(U, 90), i8(4, 2), scales(0.03, 0.01), zero(I, 0, 0)), Reason: "float result"},
		{Op: "com.microsoft:MatMulIntegerToFloat", In: in(u8(3, 4), i8(4, 2), number(0.02), scales(0.03, 0.01), zero(U, 90), absent(), scales(0.5, -0.5)), Reason: "bias"},
		{Op: "com.microsoft:DynamicQuantizeMatMul", In: in(normal(3, 4).NoGrad(), i8(4, 2), scales(0.03, 0.01), absent(), scales(0.5, -0.5)), Reason: "bias"},
		{Op: "com.microsoft:DynamicQuantizeMatMul", In: in(normal(2, 3, 4).NoGrad(), u8(4, 2), number(0.03), zero(U, 90)), Reason: "zero point"},
		{Op: "com.microsoft:DynamicQuantizeLSTM", Attrs: with(i("hidden_size", 2), s("direction", "bidirectional")), Outputs: 3,
			In: in(normal(3, 2, 4).NoGrad(), i8(2, 4, 8), i8(2, 2, 8), normal(2, 16).NoGrad(), absent(), absent(), absent(), absent(), scales(0.01, 0.02), zero(I, 0, 0), scales(0.02, 0.01), zero(I, 0, 0)), Reason: "two directions"},
	})
}
