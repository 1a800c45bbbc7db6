package ops_test

import (
	"testing"

	"ninox/onnxgraph"
)

func TestSpatial(t *testing.T) {
	kernel := is("kernel_shape", 2, 2)
	strides := is("strides", 2, 2)
	check(t, []row{
		{Op: "MaxUnpool", Attrs: with(kernel, strides), In: in(normal(1, 2, 2, 2), indices([]int64{1, 2, 2, 2}, 0, 3, 9, 11, 16, 18, 24, 31)), Reason: "doubled", Linear: true},
		{Op: "MaxUnpool", Attrs: with(kernel, strides), In: in(normal(1, 1, 2, 2), indices([]int64{1, 1, 2, 2}, 0, 3, 9, 11), ints(1, 1, 5, 5)), Reason: "shape given", Linear: true},
		{Op: "LpPool", Attrs: with(kernel), In: in(apart(1, 2, 4, 4)), Reason: "euclidean"},
		{Op: "LpPool", Opset: 18, Attrs: with(kernel, strides, i("p", 3), is("pads", 1, 0, 1, 0)), In: in(apart(1, 2, 4, 4)), Reason: "cubes, padded"},
		{Op: "GlobalLpPool", In: in(apart(2, 3, 4, 2)), Reason: "euclidean"},
		{Op: "GlobalLpPool", Attrs: with(i("p", 3)), In: in(apart(2, 3, 4)), Reason: "cubes"},
		{Op: "GridSample", In: in(normal(2, 3, 4, 5), uniform(-1, 1, 2, 3, 2, 2)), Reason: "bilinear"},
		{Op: "AffineGrid", Opset: 20, In: in(normal(2, 2, 3), ints(2, 3, 4, 5)), Reason: "plane"},
		{Op: "RoiAlign", Attrs: with(i("output_height", 2), i("output_width", 3)), In: in(normal(1, 2, 6, 6), floats([]int64{2, 4}, 0, 0, 3, 4, 1, 2, 5, 5), ints(0, 0)), Reason: "two regions"},
		{Op: "RoiAlign", Attrs: with(i("output_height", 2), i("output_width", 2), i("sampling_ratio", 2), f("spatial_scale", 0.5)), In: in(normal(2, 3, 6, 7), given([]int64{3, 4}, 0.3, 1.1, 9.7, 8.2, -4.9, -1.3, 6.1, 4.7, 3.3, 2.9, 20.3, 16.1), ints(1, 0, 1)), Reason: "samples given, regions beyond the image"},
		{Op: "RoiAlign", Attrs: with(i("output_height", 3), i("output_width", 1), s("coordinate_transformation_mode", "output_half_pixel")), In: in(normal(1, 2, 8, 8), given([]int64{2, 4}, 0.3, 1.1, 6.7, 7.2, 2.2, 3.1, 2.5, 3.3), ints(0, 0)), Reason: "as before opset 16, a tiny region"},
		{Op: "DeformConv", Opset: 19, Attrs: with(is("pads", 1, 0, 1, 1)), In: in(normal(2, 2, 5, 4), normal(3, 2, 2, 2), normal(2, 8, 6, 4), normal(3), normal(2, 4, 6, 4)), Reason: "bias and mask"},
		{Op: "DeformConv", Opset: 19, Attrs: with(i("group", 2), i("offset_group", 2), is("strides", 2, 1), is("dilations", 1, 2)), In: in(normal(1, 4, 6, 7), normal(4, 2, 3, 2), uniform(-1, 1, 1, 24, 2, 5)), Reason: "groups, strides and dilations"},
		{Op: "MaxRoiPool", Attrs: with(is("pooled_shape", 2, 2)), In: in(normal(1, 2, 6, 6), floats([]int64{1, 5}, 0, 0, 0, 4, 4)), Reason: "one region"},
		{Op: "Col2Im", Opset: 18, In: in(normal(1, 8, 9), ints(4, 4), ints(2, 2)), Reason: "blocks of 2"},
		{Op: "CenterCropPad", Opset: 18, Attrs: with(is("axes", 1, 2)), In: in(normal(2, 4, 5), ints(2, 7)), Reason: "cut and padded"},
		{Op: "Det", In: in(normal(2, 3, 3)), Reason: "batch"},
	})
}

func TestSignal(t *testing.T) {
	check(t, []row{
		{Op: "HannWindow", In: in(integer(8)), Reason: "float"},
		{Op: "HammingWindow", Attrs: with(i("output_datatype", int64(onnxgraph.Double))), In: in(integer(8)), Reason: "double"},
		{Op: "BlackmanWindow", Attrs: with(i("periodic", 0)), In: in(integer(7)), Reason: "symmetric"},
		{Op: "MelWeightMatrix", In: in(integer(8), integer(32), integer(16000), number(0), number(8000)), Reason: "eight bins"},
		{Op: "DFT", Attrs: with(i("onesided", 1)), In: in(normal(2, 8, 1)), Reason: "one-sided"},
		{Op: "DFT", Opset: 20, In: in(normal(2, 8, 3, 2), integer(6), integer(1)), Reason: "axis and length given"},
		{Op: "STFT", In: in(normal(2, 32, 1), integer(4), normal(8)), Reason: "window"},
		{Op: "STFT", Attrs: with(i("onesided", 0)), In: in(normal(1, 32, 1), integer(5), absent(), integer(8)), Reason: "length, two-sided"},
	})
}

func TestText(t *testing.T) {
	words := func(v ...string) row {
		x := &onnxgraph.Tensor{DType: onnxgraph.String, Dims: []int64{int64(len(v))}}
		for _, w := range v {
			x.Strings = append(x.Strings, []byte(w))
		}
		return row{In: in(fixed(x))}
	}
	normalizer, split, regex := words("One", "two"), words("a b", "c"), words("ab", "b")
	normalizer.Op, normalizer.Attrs, normalizer.Reason = "StringNormalizer", with(s("case_change_action", "LOWER"), s("locale", "C")), "lower case"
	split.Op, split.Opset, split.Outputs, split.Reason = "StringSplit", 20, 2, "blanks"
	regex.Op, regex.Opset, regex.Attrs, regex.Reason = "RegexFullMatch", 20, with(s("pattern", "a.")), "two letters"
	concat := row{Op: "StringConcat", Opset: 20, In: in(split.In[0], regex.In[0]), Reason: "pairs"}
	tfidf := row{Op: "TfIdfVectorizer", In: in(ints(1, 2, 3, 1)), Reason: "single numbers", Attrs: with(s("mode", "TF"), i("min_gram_length", 1), i("max_gram_length", 1), i("max_skip_count", 0),
		is("ngram_counts", 0), is("ngram_indexes", 0, 1, 2), is("pool_int64s", 1, 2, 5))}
	check(t, []row{normalizer, split, regex, concat, tfidf})
}
