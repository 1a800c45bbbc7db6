package ops_test

import "testing"

func TestNorms(t *testing.T) {
	check(t, []row{
		{Op: "InstanceNormalization", In: in(normal(2, 3, 5), normal(3), normal(3)), Reason: "one spatial axis"},
		{Op: "InstanceNormalization", Attrs: with(f("epsilon", 0.1)), In: in(normal(2, 3, 2, 4), normal(3), normal(3)), Reason: "epsilon"},
		{Op: "GroupNormalization", Opset: 18, Attrs: with(i("num_groups", 2)), In: in(normal(2, 4, 3), normal(2), normal(2)), Reason: "scale per group"},
		{Op: "GroupNormalization", Opset: 21, Attrs: with(i("num_groups", 2)), In: in(normal(2, 4, 3), normal(4), normal(4)), Reason: "scale per channel"},
		{Op: "LpNormalization", In: in(normal(3, 4)), Reason: "euclidean"},
		{Op: "LpNormalization", Attrs: with(i("p", 1), i("axis", 0)), In: in(apart(3, 4)), Reason: "sum of magnitudes"},
		{Op: "MeanVarianceNormalization", In: in(normal(2, 3, 4, 2)), Reason: "default axes"},
		{Op: "LRN", Attrs: with(i("size", 3), f("alpha", 0.5)), In: in(normal(2, 5, 3, 2)), Reason: "odd window"},
		{Op: "LRN", Attrs: with(i("size", 5), f("alpha", 0.5), f("beta", 0.5), f("bias", 2)), In: in(normal(1, 3, 2, 2)), Reason: "window wider than the channels"},
		{Op: "Hardmax", In: in(distinct(3, 4)), Reason: "last axis"},
		{Op: "com.microsoft:SkipLayerNormalization", Attrs: with(f("epsilon", 1e-5)), In: in(normal(2, 3, 4), normal(2, 3, 4), normal(4), normal(4), normal(4)), Reason: "all inputs"},
		{Op: "com.microsoft:SkipLayerNormalization", Attrs: with(f("epsilon", 1e-5)), In: in(normal(2, 3, 4), normal(2, 3, 4), normal(4)), Reason: "no shift"},
		{Op: "com.microsoft:SkipSimplifiedLayerNormalization", Attrs: with(f("epsilon", 1e-5)), In: in(normal(2, 3, 4), normal(2, 3, 4), normal(4)), Reason: "plain"},
		{Op: "DepthToSpace", Attrs: with(i("blocksize", 2)), In: in(normal(2, 8, 2, 3)), Reason: "blocks first", Linear: true},
		{Op: "DepthToSpace", Attrs: with(i("blocksize", 2), s("mode", "CRD")), In: in(normal(1, 8, 2, 3)), Reason: "channels first", Linear: true},
		{Op: "SpaceToDepth", Attrs: with(i("blocksize", 2)), In: in(normal(2, 3, 4, 2)), Reason: "blocks", Linear: true},
	})
}
