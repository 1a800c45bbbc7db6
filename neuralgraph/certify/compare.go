package certify

import (
	"bytes"
	"math"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// difference is the largest difference of two sets of outputs: for floats
// relative to the largest magnitude of the output, for integers and strings the
// share of unequal elements, for sequences and maps the largest of their
// elements. Outputs of unequal shape are 1 apart.
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
	if list := w.Elems(); list != nil || w.Kind() != onnxgraph.TensorKind {
		return listsApart(list, g.Elems())
	}
	if w.DType() == onnxgraph.String {
		return unequal(w.Tensor("").Strings, g.Tensor("").Strings, bytes.Equal)
	}
	x, errX := w.Tensor("").AsDoubles()
	y, errY := g.Tensor("").AsDoubles()
	if errX != nil || errY != nil {
		return 0 // no numbers
	}
	if len(x) != len(y) || !w.DType().IsFloat() {
		return unequal(x, y, func(a, b float64) bool { return a == b })
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

// unequal is the share of elements that differ.
func unequal[T any](x, y []T, equal func(a, b T) bool) float64 {
	if len(x) != len(y) {
		return 1
	}
	n := 0
	for i := range x {
		if !equal(x[i], y[i]) {
			n++
		}
	}
	return float64(n) / float64(max(len(x), 1))
}

// listsApart compares sequences element by element, and maps by their keys and
// values.
func listsApart(w, g []*ort.Value) float64 {
	if len(w) != len(g) {
		return 1
	}
	worst := 0.0
	for i := range w {
		worst = max(worst, apart(w[i], g[i]))
	}
	return worst
}
