package certify

import (
	"encoding/binary"
	"math"

	ort "ninox/runtime"
)

var le = binary.LittleEndian

// difference is the largest difference of two sets of outputs: for floats
// relative to the largest magnitude of the output, for integers the share of
// unequal elements. Outputs of unequal shape are 1 apart.
func difference(want, got map[string]*ort.Value) float64 {
	worst := 0.0
	for name, w := range want {
		g := got[name]
		if g == nil {
			return 1
		}
		worst = max(worst, apart(w, g))
	}
	return worst
}

func apart(w, g *ort.Value) float64 {
	x, errX := w.Tensor("").AsDoubles()
	y, errY := g.Tensor("").AsDoubles()
	if errX != nil || errY != nil {
		return 0 // strings: nothing to compare by size
	}
	if len(x) != len(y) {
		return 1
	}
	if !w.DType().IsFloat() {
		unequal := 0
		for i := range x {
			if x[i] != y[i] {
				unequal++
			}
		}
		return float64(unequal) / float64(max(len(x), 1))
	}
	scale, most := 0.0, 0.0
	for i := range x {
		switch {
		case x[i] == y[i] || math.IsNaN(x[i]) && math.IsNaN(y[i]):
		case math.IsNaN(x[i]) || math.IsNaN(y[i]) || math.IsInf(x[i], 0) || math.IsInf(y[i], 0):
			return 1
		default:
			most = max(most, math.Abs(x[i]-y[i]))
		}
		if !math.IsInf(x[i], 0) && !math.IsNaN(x[i]) {
			scale = max(scale, math.Abs(x[i]))
		}
	}
	if most == 0 {
		return 0
	}
	return most / max(scale, 1e-30)
}
