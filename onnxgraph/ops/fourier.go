package ops

import (
	"math"

	"ninox/onnxgraph"
)

// maxFourier bounds the length of a transform that is written as a matrix.
const maxFourier = 4096

// fourier is a discrete Fourier transform of n samples as a matrix.
type fourier struct {
	have     int64 // samples given: more are cut, fewer padded by zeros
	n        int64
	parts    int64 // 1: real samples, 2: complex ones
	inverse  bool
	oneSided bool // only the frequencies up to the middle
}

func (f fourier) frequencies() int64 {
	if f.oneSided {
		return f.n/2 + 1
	}
	return f.n
}

// matrix is [have·parts, frequencies·2]: sample and part to frequency and part.
func (f fourier) matrix() (dims []int64, v []float64) {
	out := f.frequencies()
	dims = []int64{f.have * f.parts, out * 2}
	v = make([]float64, dims[0]*dims[1])
	sign, scale := -1.0, 1.0
	if f.inverse {
		sign, scale = 1, 1/float64(f.n)
	}
	for t := range min(f.have, f.n) {
		for q := range out {
			sin, cos := math.Sincos(sign * 2 * math.Pi * float64(t*q%f.n) / float64(f.n))
			at := t*f.parts*dims[1] + 2*q
			v[at], v[at+1] = scale*cos, scale*sin
			if f.parts == 2 { // i·e^{iφ}
				v[at+dims[1]], v[at+dims[1]+1] = -scale*sin, scale*cos
			}
		}
	}
	return dims, v
}

// apply transforms x, whose last two axes are samples and parts.
func (f fourier) apply(k calc, x string) string {
	r := k.Fact(x).Rank()
	lead := k.slice(k.ShapeOf(x), 0, 0, int64(r-2))
	join := func(tail ...int64) string {
		return k.Emit("Concat", []string{lead, k.vector(tail...)}, onnxgraph.IntAttr("axis", 0))
	}
	dims, v := f.matrix()
	y := k.two("MatMul", k.two("Reshape", x, join(dims[0])), k.realsLike(x, dims, v))
	return k.two("Reshape", y, join(f.frequencies(), 2))
}

// lowerDFT is a product with the matrix of the transform.
func lowerDFT(k lowCalc) error {
	n := k.Node()
	x := k.Fact(k.I(0)).Shape()
	axis, known := n.Int("axis", 1), true
	if k.Opset() >= 20 {
		axis = -2
		if k.I(2) != "" {
			v, ok := intsOf(k.Fact(k.I(2)))
			if known = ok && len(v) == 1; known {
				axis = v[0]
			}
		}
	}
	if axis < 0 {
		axis += int64(len(x))
	}
	if !known || axis < 0 || axis >= int64(len(x))-1 || !x[axis].IsKnown() || !x[len(x)-1].IsKnown() {
		return k.Errorf("the axis or its extent is not known")
	}
	f := fourier{have: x[axis].Value, n: x[axis].Value, parts: x[len(x)-1].Value, inverse: n.Int("inverse", 0) != 0, oneSided: n.Int("onesided", 0) != 0}
	if k.I(1) != "" {
		v, ok := intsOf(k.Fact(k.I(1)))
		if !ok || len(v) != 1 {
			return k.Errorf("the length of the transform is not known")
		}
		f.n = v[0]
	}
	switch {
	case f.n > maxFourier:
		return k.Errorf("%d samples, expected at most %d for a matrix", f.n, maxFourier)
	case f.inverse && f.oneSided:
		return k.Errorf("the inverse of a one-sided transform has no lowering")
	}
	perm := upTo(0, len(x))
	last := len(x) - 2
	perm[axis], perm[last] = perm[last], perm[axis] // its own inverse
	k.SetO(0, k.transpose(f.apply(k.calc, k.transpose(k.I(0), perm...)), perm...))
	return nil
}

// lowerSTFT gathers the frames, weights them by the window and transforms each.
func lowerSTFT(k lowCalc) error {
	x := k.Fact(k.I(0)).Shape()
	step, ok := intsOf(k.Fact(k.I(1)))
	if !ok || len(step) != 1 || step[0] < 1 || len(x) != 3 || !x[1].IsKnown() || !x[2].IsKnown() {
		return k.Errorf("the step or the extents of the signal are not known")
	}
	var length int64
	switch w := k.Fact(k.I(2)).Shape(); {
	case k.I(3) != "":
		v, ok := intsOf(k.Fact(k.I(3)))
		if !ok || len(v) != 1 {
			return k.Errorf("the length of a frame is not known")
		}
		length = v[0]
	case len(w) == 1 && w[0].IsKnown():
		length = w[0].Value
	default:
		return k.Errorf("the length of a frame is not known")
	}
	if length > maxFourier || length > x[1].Value {
		return k.Errorf("frames of %d samples, expected at most %d and no more than the signal's %s", length, maxFourier, x[1])
	}
	frames := (x[1].Value-length)/step[0] + 1
	places := make([]int64, 0, frames*length)
	for f := range frames {
		for t := range length {
			places = append(places, f*step[0]+t)
		}
	}
	cut := k.Emit("Gather", []string{k.I(0), k.Const(onnxgraph.Int64s("", []int64{frames, length}, places))}, onnxgraph.IntAttr("axis", 1))
	if k.I(2) != "" {
		cut = k.mul(cut, k.unsqueeze(k.I(2), 1))
	}
	f := fourier{have: length, n: length, parts: x[2].Value, oneSided: k.Node().Int("onesided", 1) != 0}
	k.SetO(0, f.apply(k.calc, cut))
	return nil
}
