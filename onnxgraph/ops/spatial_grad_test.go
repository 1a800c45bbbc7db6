package ops_test

import (
	"testing"

	"ninox/onnxgraph/optest"
)

// Points of a grid, away from places where neighbours change, some of them
// outside the image.
func scattered(dims ...int64) optest.Arg { return uniform(-1.3, 1.3, dims...) }

func TestGridSampleModes(t *testing.T) {
	image, grid := normal(2, 3, 4, 5), scattered(2, 3, 2, 2)
	var rows []row
	for _, mode := range []string{"linear", "nearest", "cubic"} {
		for _, padding := range []string{"zeros", "border", "reflection"} {
			for align := range int64(2) {
				g := grid
				if mode == "nearest" {
					g = grid.NoGrad() // steps
				}
				rows = append(rows, row{Op: "GridSample", Opset: 20, Attrs: with(s("mode", mode), s("padding_mode", padding), i("align_corners", align)),
					In: in(image, g), Reason: mode + " " + padding + []string{"", " aligned"}[align], Free: []int{0, 1}})
			}
		}
	}
	rows = append(rows,
		row{Op: "GridSample", Opset: 16, Attrs: with(s("mode", "bilinear")), In: in(image, grid), Reason: "old name"},
		row{Op: "GridSample", Opset: 20, In: in(normal(1, 2, 3, 4, 3), scattered(1, 2, 2, 3, 3)), Reason: "volume"},
	)
	check(t, rows)
}

func TestGradientsOfImages(t *testing.T) {
	check(t, []row{
		{Op: "AffineGrid", Opset: 20, Attrs: with(i("align_corners", 1)), In: in(normal(2, 2, 3), ints(2, 3, 4, 3)), Reason: "aligned", Linear: true},
		{Op: "AffineGrid", Opset: 20, In: in(normal(1, 3, 4), ints(1, 2, 3, 2, 4)), Reason: "volume", Linear: true},
		{Op: "CenterCropPad", Opset: 18, In: in(normal(3, 5, 4), ints(4, 2, 7)), Reason: "every axis, odd numbers", Free: []int{}, Linear: true},
		{Op: "Col2Im", Opset: 18, Attrs: with(is("strides", 2, 1), is("pads", 1, 0, 0, 1)), In: in(normal(2, 12, 15), ints(5, 5), ints(2, 2)), Reason: "strides and pads", Linear: true},
		{Op: "Col2Im", Opset: 18, Attrs: with(is("dilations", 1, 2)), In: in(normal(1, 8, 8), ints(5, 4), ints(2, 2)), Reason: "dilated", Linear: true},
		{Op: "Col2Im", Opset: 18, Attrs: with(is("strides", 2)), In: in(normal(1, 4, 3), ints(7), ints(2)), Reason: "an element that no block reaches", Linear: true},
	})
}

func TestGradientsOfSpectra(t *testing.T) {
	check(t, []row{
		{Op: "DFT", Opset: 17, In: in(normal(2, 6, 2)), Reason: "complex", Linear: true},
		{Op: "DFT", Opset: 17, Attrs: with(i("inverse", 1)), In: in(normal(2, 5, 2)), Reason: "inverse", Linear: true},
		{Op: "DFT", Opset: 17, Attrs: with(i("onesided", 1), i("axis", 1)), In: in(normal(2, 7, 3, 1), integer(9)), Reason: "padded, another axis behind", Linear: true},
		{Op: "DFT", Opset: 20, In: in(normal(3, 8, 2, 1), integer(6), integer(1)), Reason: "cut", Linear: true},
		{Op: "STFT", Opset: 17, In: in(normal(2, 20, 1), integer(3), normal(6)), Reason: "gradient of the window, too"},
		{Op: "STFT", Opset: 17, Attrs: with(i("onesided", 0)), In: in(normal(2, 16, 2), integer(4), absent(), integer(5)), Reason: "complex", Linear: true},
	})
}

func TestGradientsOfReductionsWhileScattering(t *testing.T) {
	repeated := indices([]int64{4, 2}, 2, 0, 2, 1, 1, 1, 0, 0)
	points := indices([]int64{4, 2}, 0, 1, 2, -1, 0, 1, 0, 1)
	rows := indices([]int64{3, 1}, 3, 1, 3)
	check(t, []row{
		{Op: "ScatterElements", Opset: 18, Attrs: with(s("reduction", "mul")), In: in(apart(3, 2), repeated, apart(4, 2)), Reason: "product"},
		{Op: "ScatterElements", Opset: 18, Attrs: with(s("reduction", "max")), In: in(distinct(3, 2), repeated, distinct(4, 2)), Reason: "largest", Tol: 1e-6},
		{Op: "ScatterElements", Opset: 18, Attrs: with(s("reduction", "min"), i("axis", 1)), In: in(distinct(2, 3), indices([]int64{2, 4}, 0, 0, 2, 1, 1, 2, 2, 2), distinct(2, 4)), Reason: "smallest"},
		{Op: "ScatterElements", Opset: 16, Attrs: with(s("reduction", "mul")), In: in(given([]int64{2, 1}, 0, 2), indices([]int64{4, 1}, 0, 0, 1, 1), given([]int64{4, 1}, 3, 0, 0, 5)), Reason: "factors of zero"},
		{Op: "ScatterND", Opset: 18, Attrs: with(s("reduction", "mul")), In: in(apart(4, 3), rows, apart(3, 3)), Reason: "rows"},
		{Op: "ScatterND", Opset: 18, Attrs: with(s("reduction", "max")), In: in(distinct(3, 4), points, distinct(4)), Reason: "elements"},
		{Op: "ScatterND", Opset: 18, Attrs: with(s("reduction", "min")), In: in(distinct(4, 2), rows, distinct(3, 2)), Reason: "smallest of rows"},
		{Op: "GatherND", Opset: 16, Attrs: with(i("batch_dims", 1)), In: in(normal(2, 3, 4), indices([]int64{2, 3, 1}, 0, 2, 0, 1, 1, -1)), Reason: "rows of each sample", Linear: true},
		{Op: "GatherND", Opset: 16, Attrs: with(i("batch_dims", 2)), In: in(normal(2, 2, 3, 2), indices([]int64{2, 2, 2}, 0, 1, 2, 0, -1, -1, 1, 1)), Reason: "elements behind two batch axes", Linear: true},
		{Op: "Compress", In: in(normal(3, 4), bools(0, 1, 1, 0, 1)), Reason: "flat, condition shorter", Linear: true},
		{Op: "Compress", Attrs: with(i("axis", -1)), In: in(normal(2, 3), bools(1, 0, 1)), Reason: "last axis", Linear: true},
	})
}
