package training

import (
	"math"

	"ninox/onnxgraph"
)

// Muon's quintic iteration (Jordan et al., 2024): coefficients, number of steps
// and the least norm that is divided by.
var newtonSchulz = struct {
	a, b, c float64
	steps   int
	least   float64
}{3.4445, -4.7750, 2.0315, 5, 1e-7}

// appendMuon updates weight matrices by Muon and the rest by AdamW.
func (o Optimizer) appendMuon(w *grower, lr, step string, ups []update) {
	var rest []update
	for _, u := range ups {
		if u.group.Matrix == "" {
			rest = append(rest, u)
			continue
		}
		m := w.blend(u.newMoments[0], o.Momentum, u.moments[0], 1-o.Momentum, u.grad)
		if !o.NoNesterov {
			m = w.blend(w.fresh("Add"), o.Momentum, m, 1-o.Momentum, u.grad)
		}
		delta := w.op("Mul", []string{orthogonal(w, m, u.dims), lr})
		delta = w.op("Mul", []string{delta, w.scalar(o.adjustment(u))})
		w.named(u.newParam, "Sub", []string{o.shrink(w, lr, u, u.param), delta})
	}
	adamw := o
	adamw.Kind = AdamW
	if len(rest) > 0 && o.AdamWRate != 1 {
		lr = w.op("Mul", []string{lr, w.scalar(o.AdamWRate)})
	}
	adamw.appendAdam(w, lr, step, rest)
}

// asMatrix is the matrix that a weight is: convolution kernels [k, n, …] are k by
// the product of the rest.
func asMatrix(dims []int64) (rows, columns int64) {
	columns = 1
	for _, d := range dims[1:] {
		columns *= d
	}
	return dims[0], columns
}

// adjustment is the factor of the learning rate for the shape of a matrix.
func (o Optimizer) adjustment(u update) float64 {
	rows, columns := asMatrix(u.dims)
	k, n := float64(rows), float64(columns) // outputs, inputs
	if u.group.Matrix == InOut {
		k, n = n, k
	}
	if o.Adjust == MatchRMS {
		return 0.2 * math.Sqrt(max(n, k))
	}
	return math.Sqrt(max(1, k/n))
}

// orthogonal moves the singular values of a matrix towards 1: after division
// by its norm, X ← a·X + (b·A + c·A²)·X with A = X·Xᵀ, on the side on which A is
// smaller.
func orthogonal(w *grower, value string, dims []int64) string {
	rows, columns := asMatrix(dims)
	x := value
	if len(dims) > 2 {
		x = w.op("Reshape", []string{x, w.constant(onnxgraph.Vector("matrix", rows, columns))})
	}
	norm := w.op("Sqrt", []string{w.op("ReduceSumSquare", []string{x}, onnxgraph.IntAttr("keepdims", 0))})
	x = w.op("Div", []string{x, w.op("Max", []string{norm, w.scalar(newtonSchulz.least)})})
	gemm := func(a, b, c string, alpha, beta float64, attrs ...*onnxgraph.Attribute) string {
		return w.op("Gemm", []string{a, b, c}, append(attrs, onnxgraph.FloatAttr("alpha", float32(alpha)), onnxgraph.FloatAttr("beta", float32(beta)))...)
	}
	tall := rows > columns
	side := "transB"
	if tall {
		side = "transA"
	}
	for range newtonSchulz.steps {
		a := w.op("Gemm", []string{x, x}, onnxgraph.IntAttr(side, 1))
		p := gemm(a, a, a, newtonSchulz.c, newtonSchulz.b)
		if tall {
			x = gemm(x, p, x, 1, newtonSchulz.a)
		} else {
			x = gemm(p, x, x, 1, newtonSchulz.a)
		}
	}
	if len(dims) > 2 {
		x = w.op("Reshape", []string{x, w.constant(onnxgraph.Vector("shape", dims...))})
	}
	return x
}
