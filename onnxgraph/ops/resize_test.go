package ops_test

import (
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/text"
)

func TestResize(t *testing.T) {
	scales := func(v ...float32) []float32 { return v }
	by := func(x, s []float32) row {
		return row{Op: "Resize", In: in(normal(1, 2, int64(x[0]), int64(x[1])), absent(), floats([]int64{4}, s...)), Linear: true}
	}
	var rows []row
	for _, mode := range []string{"nearest", "linear", "cubic"} {
		for _, transformation := range []string{"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"} {
			for _, s4 := range [][]float32{scales(1, 1, 2, 3), scales(1, 1, 0.6, 1.7)} {
				if transformation == "half_pixel_symmetric" && mode == "nearest" {
					continue // covered by the other modes; ties differ by rounding
				}
				r := by(scales(5, 4), s4)
				r.Opset = 19
				r.Attrs = with(s("mode", mode), s("coordinate_transformation_mode", transformation))
				r.Reason = mode + " " + transformation
				if s4[2] < 1 {
					r.Reason += " mixed"
				}
				rows = append(rows, r)
			}
		}
	}
	for _, nearest := range []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"} {
		r := by(scales(4, 3), scales(1, 1, 2, 2))
		r.Attrs = with(s("mode", "nearest"), s("nearest_mode", nearest), s("coordinate_transformation_mode", "asymmetric"))
		r.Reason = "rounding by " + nearest
		rows = append(rows, r)
	}
	rows = append(rows,
		row{Op: "Resize", Attrs: with(s("mode", "linear")), In: in(normal(1, 2, 3, 4), absent(), absent(), ints(1, 2, 5, 3)), Reason: "sizes", Linear: true},
		row{Op: "Resize", Opset: 18, Attrs: with(s("mode", "linear"), is("axes", 3)), In: in(normal(1, 2, 3, 4), absent(), absent(), ints(6)), Reason: "one axis", Linear: true},
		row{Op: "Resize", Attrs: with(s("mode", "cubic"), i("exclude_outside", 1), f("cubic_coeff_a", -0.5)), In: in(normal(1, 1, 4, 4), absent(), absent(), ints(1, 1, 7, 3)), Reason: "cubic without the outside", Linear: true},
		row{Op: "Resize", Opset: 10, In: in(normal(1, 1, 2, 3), floats([]int64{4}, 1, 1, 2, 1.5)), Reason: "version 10"},
		row{Op: "Upsample", Opset: 9, Attrs: with(s("mode", "linear")), In: in(normal(1, 1, 2, 3), floats([]int64{4}, 1, 1, 2, 2)), Reason: "version 9"},
		row{Op: "Upsample", Opset: 7, Attrs: with(onnxgraph.FloatsAttr("scales", 1, 1, 2, 2)), In: in(normal(1, 1, 2, 3)), Reason: "version 7"},
	)
	check(t, rows)
}

// TestKeepAspect: sizes are a box that the result fits into, or covers.
func TestKeepAspect(t *testing.T) {
	for policy, want := range map[string]string{"stretch": "float[1,1,8,6]", "not_larger": "float[1,1,6,6]", "not_smaller": "float[1,1,8,8]"} {
		m := text.MustParse(`<ir_version: 8, opset_import: ["" : 18]> fit (float[1,1,4,4] x) => (y) <int64[2] box = {8, 6}> {
			y = Resize <axes = [2, 3], keep_aspect_ratio_policy = "` + policy + `"> (x, "", "", box)
		}`)
		facts, err := infer.Run(m, ops.Registry(), infer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := facts.Fact("y").Type.String(); got != want {
			t.Errorf("%s: %s, expected %s", policy, got, want)
		}
	}
}
