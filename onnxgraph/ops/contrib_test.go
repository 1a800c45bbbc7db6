package ops_test

import (
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/optest"
)

func TestContrib(t *testing.T) {
	conv := func(activation string, more ...*onnxgraph.Attribute) []*onnxgraph.Attribute {
		return append(with(s("activation", activation), is("kernel_shape", 3, 3), is("pads", 1, 1, 1, 1)), more...)
	}
	check(t, []row{
		{Op: "com.microsoft:FusedConv", Attrs: conv("Tanh"), In: in(normal(2, 2, 4, 4), normal(3, 2, 3, 3), normal(3)), Reason: "activation"},
		{Op: "com.microsoft:FusedConv", Attrs: conv("LeakyRelu", onnxgraph.FloatsAttr("activation_params", 0.3)), In: in(normal(1, 1, 3, 3), normal(1, 1, 3, 3)), Tol: 2e-2, Reason: "parameter"},
		{Op: "com.microsoft:FusedConv", Attrs: conv("Sigmoid"), In: in(normal(1, 2, 4, 4), normal(3, 2, 3, 3), normal(3), normal(1, 3, 4, 4)), Reason: "sum"},
		{Op: "com.microsoft:FusedGemm", Attrs: with(s("activation", "Sigmoid"), i("transB", 1), f("alpha", 0.5)), In: in(normal(3, 4), normal(5, 4), normal(5)), Reason: "activation"},
		{Op: "com.microsoft:MatMulNBits", Attrs: with(i("K", 20), i("N", 3), i("block_size", 16), i("bits", 4)), In: in(normal(2, 20), u8(3, 2, 8), normal(6).NoGrad()), Reason: "four bits, a block that is not full"},
		{Op: "com.microsoft:MatMulNBits", Attrs: with(i("K", 32), i("N", 3), i("block_size", 16), i("bits", 4)), In: in(normal(2, 32), u8(3, 2, 8), normal(6).NoGrad(), u8(3, 1), absent(), normal(3)), Reason: "zero points and bias"},
		{Op: "com.microsoft:MatMulNBits", Attrs: with(i("K", 32), i("N", 3), i("block_size", 16), i("bits", 8)), In: in(normal(2, 32), u8(3, 2, 16), normal(6).NoGrad()), Reason: "eight bits"},
		{Op: "com.microsoft:EmbedLayerNormalization", Outputs: 3, In: in(int32s([]int64{2, 3}, 1, 0, 4, 2, 2, 3), int32s([]int64{2, 3}, 0, 0, 1, 0, 1, 1), normal(5, 4), normal(6, 4), normal(2, 4), normal(4), normal(4), int32s([]int64{2, 3}, 1, 1, 1, 1, 1, 0)), Reason: "segments and mask"},
		{Op: "com.microsoft:EmbedLayerNormalization", Attrs: with(f("epsilon", 1e-3)), Outputs: 2, In: in(int32s([]int64{2, 3}, 1, 0, 4, 2, 2, 3), absent(), normal(5, 4), normal(6, 4), absent(), normal(4), normal(4)), Reason: "words and places"},
		{Op: "com.microsoft:ExpandDims", In: in(normal(2, 3), int32s([]int64{}, 1)), Linear: true, Reason: "axis between"},
	})
}

func TestContribTwins(t *testing.T) {
	const U = onnxgraph.Uint8
	ids := func(v ...int32) optest.Arg { return int32s([]int64{2, 3}, v...) }
	check(t, []row{
		{Op: "com.microsoft:Pad", In: in(normal(2, 3), ints(0, 1, 1, 0), number(0.5)), Linear: true, Reason: "value"},
		{Op: "com.microsoft:GatherND", In: in(normal(3, 4), indices([]int64{2, 2}, 0, 1, 2, 3)), Linear: true, Reason: "elements"},
		{Op: "com.microsoft:QEmbedLayerNormalization", Outputs: 2, In: in(ids(1, 0, 4, 2, 2, 3), ids(0, 0, 1, 0, 1, 1), u8(5, 4), u8(6, 4), u8(2, 4), u8(4), u8(4), ids(1, 1, 1, 1, 1, 0),
			number(0.02), number(0.01), number(0.03), number(0.02), number(0.01), zero(U, 90), zero(U, 80), zero(U, 70), zero(U, 60), zero(U, 50)), Reason: "segments and mask"},
	})
}
