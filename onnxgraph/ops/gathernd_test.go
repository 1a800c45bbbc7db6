package ops_test

import "testing"

func TestPointwise(t *testing.T) {
	check(t, []row{
		{Op: "GatherND", In: in(normal(3, 4, 2), indices([]int64{3, 2}, 0, 1, 2, -1, 0, 1)), Reason: "points repeat, one from the end", Linear: true},
		{Op: "GatherND", In: in(normal(3, 4), indices([]int64{2, 2, 1}, 0, 1, 1, 1)), Reason: "rows", Linear: true},
		{Op: "ScatterND", In: in(normal(3, 4), indices([]int64{2, 2}, 0, 1, 2, 3), normal(2)), Reason: "elements", Linear: true},
		{Op: "ScatterND", In: in(normal(4, 3), indices([]int64{2, 1}, 3, 1), normal(2, 3)), Reason: "rows", Linear: true},
		{Op: "ScatterND", Attrs: with(s("reduction", "add")), In: in(normal(4, 3), indices([]int64{2, 1}, 3, 1), normal(2, 3)), Reason: "added", Linear: true},
	})
}

func TestSelections(t *testing.T) {
	check(t, []row{
		{Op: "Compress", Attrs: with(i("axis", 1)), In: in(normal(2, 3), bools(1, 0, 1)), Reason: "axis"},
		{Op: "Compress", In: in(normal(2, 2), bools(0, 1, 1)), Reason: "flat"},
		{Op: "Unique", In: in(normal(2, 3)), Outputs: 4, Reason: "flat"},
		{Op: "Unique", Attrs: with(i("axis", 1)), In: in(normal(2, 3)), Outputs: 4, Reason: "columns"},
		{Op: "ReverseSequence", In: in(normal(4, 2, 3), ints(4, 2)), Reason: "time first", Linear: true},
		{Op: "ReverseSequence", Attrs: with(i("time_axis", 1), i("batch_axis", 0)), In: in(normal(2, 4), ints(3, 1)), Reason: "batch first", Linear: true},
		{Op: "Mod", Attrs: with(i("fmod", 1)), In: in(uniform(2.1, 2.9, 4), uniform(0.95, 1.04, 4)), Tol: 2e-2, Reason: "floats"},
		{Op: "Mod", Opset: 10, In: in(ints(5, -5, 5), ints(3, 3, -3)), Reason: "integers"},
		{Op: "RandomNormal", Attrs: with(is("shape", 2, 3)), In: nil, Reason: "shape"},
		{Op: "RandomUniformLike", In: in(normal(2, 3)), Reason: "like"},
		{Op: "Bernoulli", In: in(uniform(0, 1, 2, 3)), Reason: "like"},
		{Op: "Multinomial", Attrs: with(i("sample_size", 4)), In: in(normal(2, 3)), Reason: "samples"},
	})
}
