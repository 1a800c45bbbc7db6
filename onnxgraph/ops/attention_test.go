package ops_test

import (
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/optest"
)

func TestAttention(t *testing.T) {
	mask := fixed(&onnxgraph.Tensor{DType: onnxgraph.Bool, Dims: []int64{3, 5}, Data: []byte{1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1}})
	blind := fixed(&onnxgraph.Tensor{DType: onnxgraph.Bool, Dims: []int64{3, 5}, Data: []byte{1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}})
	check(t, []row{
		{Op: "Attention", Opset: 23, In: in(normal(2, 3, 4, 6), normal(2, 3, 5, 6), normal(2, 3, 5, 7)), Reason: "heads apart"},
		{Op: "Attention", Opset: 23, Attrs: with(i("q_num_heads", 4), i("kv_num_heads", 2), i("is_causal", 1)), In: in(normal(2, 4, 12), normal(2, 4, 6), normal(2, 4, 6)), Reason: "packed, causal, shared keys"},
		{Op: "Attention", Opset: 23, Attrs: with(f("scale", 0.3), f("softcap", 2)), In: in(normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 4), mask), Reason: "mask, scale, cap"},
		{Op: "Attention", Opset: 23, In: in(normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 4), normal(3, 5)), Reason: "added mask"},
		{Op: "Attention", Opset: 23, In: in(normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 4), blind), Reason: "a query that may attend to nothing"},
		{Op: "Attention", Opset: 23, Attrs: with(i("is_causal", 1)), In: in(normal(2, 4, 3, 4), normal(2, 2, 3, 4), normal(2, 2, 3, 5), absent(), normal(2, 2, 2, 4), normal(2, 2, 2, 5)), Outputs: 3, Reason: "causal behind a cache"},
		{Op: "Attention", Opset: 24, Attrs: with(i("is_causal", 1), i("q_num_heads", 2), i("kv_num_heads", 2)), In: in(normal(2, 3, 8), normal(2, 5, 8), normal(2, 5, 8), absent(), absent(), absent(), ints(4, 3)), Reason: "keys of different number, causal"},
		{Op: "Attention", Opset: 23, Attrs: with(f("softcap", 2), i("qk_matmul_output_mode", 1)), In: in(normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 4), normal(3, 5)), Outputs: 4, Reason: "scores as an output"},
		{Op: "com.microsoft:MultiHeadAttention", Attrs: with(i("num_heads", 2)), In: in(normal(2, 3, 8), normal(2, 5, 8), normal(2, 5, 6)), Reason: "plain"},
		{Op: "com.microsoft:MultiHeadAttention", Attrs: with(i("num_heads", 2), f("scale", 0.4)), In: in(normal(2, 3, 8), normal(2, 5, 8), normal(2, 5, 8), normal(24), absent(), normal(1, 2, 3, 5)), Reason: "biases"},
		{Op: "com.microsoft:MultiHeadAttention", Attrs: with(i("num_heads", 2), i("unidirectional", 1)), In: in(normal(2, 4, 8), normal(2, 4, 8), normal(2, 4, 8)), Reason: "causal"},
	})
}

func TestRotary(t *testing.T) {
	places := func(v ...int64) optest.Arg { return indices([]int64{2, 3}, v...) }
	check(t, []row{
		{Op: "RotaryEmbedding", Opset: 23, In: in(normal(2, 2, 3, 4), uniform(-1, 1, 5, 2), uniform(-1, 1, 5, 2), places(0, 1, 2, 2, 3, 4)), Reason: "heads apart", Linear: true},
		{Op: "RotaryEmbedding", Opset: 23, Attrs: with(i("interleaved", 1)), In: in(normal(2, 2, 3, 4), uniform(-1, 1, 2, 3, 2), uniform(-1, 1, 2, 3, 2)), Reason: "interleaved, angles per token", Linear: true},
		{Op: "RotaryEmbedding", Opset: 23, Attrs: with(i("num_heads", 2), i("rotary_embedding_dim", 4)), In: in(normal(2, 3, 12), uniform(-1, 1, 5, 2), uniform(-1, 1, 5, 2), places(0, 1, 2, 2, 3, 4)), Reason: "packed, partly turned", Linear: true},
		{Op: "com.microsoft:RotaryEmbedding", In: in(normal(2, 3, 8), places(0, 1, 2, 2, 3, 4), uniform(-1, 1, 5, 2), uniform(-1, 1, 5, 2)), Reason: "packed", Linear: true},
	})
}
