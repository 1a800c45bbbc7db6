package ops_test

import (
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/optest"
)

func TestContribAttention(t *testing.T) {
	heads := func(more ...*onnxgraph.Attribute) []*onnxgraph.Attribute { return append(more, i("num_heads", 2)) }
	const attention, multiHead, decoder = "com.microsoft:Attention", "com.microsoft:MultiHeadAttention", "com.microsoft:DecoderMaskedMultiHeadAttention"
	x, w, b := normal(2, 4, 6), normal(6, 24), normal(24)
	check(t, []row{
		{Op: attention, Attrs: heads(), In: in(x, w, b), Reason: "plain"},
		{Op: attention, Attrs: heads(i("unidirectional", 1), f("scale", 0.3)), In: in(x, w, b), Reason: "causal"},
		{Op: attention, Attrs: heads(is("qkv_hidden_sizes", 8, 8, 4)), In: in(x, normal(6, 20), normal(20)), Reason: "values of another width"},
		{Op: attention, Attrs: heads(), In: in(x, w, b, int32s([]int64{2}, 4, 3)), Static: true, Reason: "lengths"},
		{Op: attention, Attrs: heads(), In: in(x, w, b, int32s([]int64{4}, 4, 3, 1, 0)), Static: true, Reason: "ends and starts"},
		{Op: attention, Attrs: heads(), In: in(x, w, b, int32s([]int64{2, 4}, 1, 1, 0, 1, 1, 1, 1, 0)), Reason: "marks"},
		{Op: attention, Attrs: heads(f("mask_filter_value", -3)), In: in(x, w, b, int32s([]int64{2, 4, 4}, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1)), Reason: "marks of each query"},
		{Op: attention, Attrs: heads(i("unidirectional", 1)), In: in(x, w, b, absent(), normal(2, 2, 2, 3, 4)), Outputs: 2, Reason: "cache"},
		{Op: attention, Attrs: heads(), In: in(x, w, b, absent(), absent(), normal(2, 2, 4, 4)), Reason: "added bias"},
		{Op: "com.microsoft:QAttention", Attrs: heads(), In: in(u8(2, 4, 6), i8(6, 24), normal(24).NoGrad(), number(0.02), number(0.01), int32s([]int64{2}, 4, 3), zero(onnxgraph.Uint8, 90), zero(onnxgraph.Int8, 0)), Static: true, Reason: "lengths"},
		{Op: "com.microsoft:QAttention", Attrs: heads(), In: in(u8(2, 4, 6), i8(6, 24), normal(24).NoGrad(), number(0.02), number(0.01), absent(), zero(onnxgraph.Uint8, 90), zero(onnxgraph.Int8, 0)), Static: true, Reason: "plain"},

		{Op: multiHead, Attrs: heads(), In: in(normal(2, 3, 8), normal(2, 5, 8), normal(2, 5, 8), normal(24), int32s([]int64{2, 5}, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0)), Reason: "marks"},
		{Op: multiHead, Attrs: heads(), In: in(normal(2, 3, 8), normal(2, 5, 8), normal(2, 5, 8), absent(), int32s([]int64{2}, 5, 3)), Static: true, Reason: "lengths"},
		{Op: multiHead, Attrs: heads(i("unidirectional", 1)), In: in(normal(2, 3, 8), normal(2, 3, 8), normal(2, 3, 8), absent(), absent(), absent(), normal(2, 2, 2, 4), normal(2, 2, 2, 4)), Outputs: 3, Reason: "cache"},
		{Op: multiHead, Attrs: heads(), In: in(normal(2, 3, 8), normal(2, 2, 5, 4), normal(2, 2, 5, 4)), Reason: "keys of an encoder"},
		{Op: decoder, Attrs: heads(), In: in(normal(2, 1, 8), normal(2, 2, 5, 4), normal(2, 2, 5, 4)), Reason: "keys of an encoder"},
	})
}

func TestGroupQueryAttention(t *testing.T) {
	const op = "com.microsoft:GroupQueryAttention"
	heads := func(more ...*onnxgraph.Attribute) []*onnxgraph.Attribute {
		return append(more, i("num_heads", 4), i("kv_num_heads", 2))
	}
	turning := func(more ...*onnxgraph.Attribute) []*onnxgraph.Attribute {
		return append(more, i("num_heads", 2), i("kv_num_heads", 1), i("do_rotary", 1))
	}
	last := func(v ...int32) optest.Arg { return int32s([]int64{int64(len(v))}, v...) }
	total := func(v int32) optest.Arg { return int32s([]int64{1}, v) }
	q, k := normal(2, 3, 32), normal(2, 3, 16)
	cos, sin := uniform(-1, 1, 9, 8), uniform(-1, 1, 9, 8)
	check(t, []row{
		{Op: op, Attrs: heads(), In: in(q, k, k, absent(), absent(), last(2, 2), total(3)), Reason: "prompt"},
		{Op: op, Attrs: heads(f("softcap", 2), f("scale", 0.4), i("local_window_size", 2)), In: in(q, k, k, absent(), absent(), last(2, 2), total(3)), Reason: "cap and window"},
		{Op: op, Attrs: turning(), In: in(q, k, k, absent(), absent(), last(2, 2), total(3), cos, sin), Reason: "turned prompt"},
		{Op: op, Attrs: turning(i("rotary_interleaved", 1)), In: in(normal(2, 3, 64), absent(), absent(), absent(), absent(), last(2, 2), total(3), cos, sin), Reason: "packed, interleaved"},
		{Op: op, Attrs: heads(i("smooth_softmax", 1)), In: in(q, k, k, absent(), absent(), last(2, 2), total(3)), Reason: "smooth"},
		{Op: op, Attrs: heads(), In: in(q, k, k, absent(), absent(), last(2, 2), total(3), absent(), absent(), absent(), absent(), normal(4)), Reason: "sinks"},
		{Op: op, Attrs: heads(), In: in(q, k, k, absent(), absent(), last(2, 2), total(3), absent(), absent(), absent(), normal(1, 4, 3, 3)), Reason: "added bias"},
		{Op: op, Attrs: turning(), In: in(normal(2, 1, 32), normal(2, 1, 16), normal(2, 1, 16), normal(2, 1, 5, 16), normal(2, 1, 5, 16), last(5, 5), total(6), cos, sin), Outputs: 3, Reason: "full cache"},
		{Op: op, Attrs: turning(i("local_window_size", 3)), In: in(normal(2, 1, 32), normal(2, 1, 16), normal(2, 1, 16), normal(2, 1, 5, 16), normal(2, 1, 5, 16), last(5, 2), total(6), cos, sin), Outputs: 3, Reason: "samples of different length, window"},
		{Op: op, Attrs: turning(), In: in(normal(2, 1, 32), normal(2, 1, 16), normal(2, 1, 16), normal(2, 1, 8, 16), normal(2, 1, 8, 16), last(5, 5), total(6), cos, sin), Outputs: 3, Reason: "cache with room"},
		{Op: op, Attrs: heads(), In: in(normal(1, 2, 64), normal(1, 2, 32), normal(1, 2, 32), normal(1, 2, 3, 16), normal(1, 2, 3, 16), last(4), total(5)), Outputs: 3, Reason: "two more tokens"},
		{Op: op, Attrs: turning(), In: in(normal(1, 2, 32), normal(1, 2, 16), normal(1, 2, 16), normal(1, 1, 3, 16), normal(1, 1, 3, 16), last(4), total(5), cos, sin, indices([]int64{1, 2}, 3, 4)), Outputs: 3, Reason: "positions given"},
	})
}
