package optest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"ninox/onnxgraph"
)

// Row is one case of one operator.
type Row struct {
	Op      string // "Conv" or "com.microsoft:Gelu"
	Opset   int64  // of the default domain; default 17
	Attrs   []*onnxgraph.Attribute
	In      []Arg
	Outputs int // how many outputs to name; default 1
	// Skip lists outputs left out of the loss, because they carry no gradient
	// (indices, running statistics).
	Skip []int
	// Linear: the operator is linear in each input by itself, so that finite
	// differences in float32 are exact but for rounding.
	Linear bool
	// Free lists the axes of the first input whose extents are symbols when the
	// gradient is derived once more; nil means the first. Static turns that off,
	// where the gradient needs the extents.
	Free   []int
	Static bool
	Tol    float64 // relative tolerance of the gradient; 0 takes that of the precision
	Reason string  // what this row is about
}

func (r Row) opset() int64 {
	if r.Opset == 0 {
		return 17
	}
	return r.Opset
}

func (r Row) free() []int {
	if r.Free == nil {
		return []int{0}
	}
	return r.Free
}

// split is the domain and name of the operator.
func (r Row) split() (domain, name string) {
	if d, n, ok := strings.Cut(r.Op, ":"); ok {
		return d, n
	}
	return "", r.Op
}

// Name is the row's name as a subtest.
func (r Row) Name() string { return fmt.Sprintf("%s-%d/%s", r.Op, r.opset(), r.Reason) }

// Arg is one input of a row.
type Arg struct {
	dims   []int64
	draw   func(r *rand.Rand) float64 // of float inputs
	fixed  *onnxgraph.Tensor          // constant of any other type
	frozen bool                       // a float input whose gradient is not asked for
}

// varied says whether the gradient of the input is asked for.
func (a Arg) varied() bool { return a.draw != nil && !a.frozen }

// Normal is a float input from the standard normal distribution.
func Normal(dims ...int64) Arg {
	return Arg{dims: dims, draw: func(r *rand.Rand) float64 { return r.NormFloat64() }}
}

// Uniform is a float input from [lo, hi).
func Uniform(lo, hi float64, dims ...int64) Arg {
	return Arg{dims: dims, draw: func(r *rand.Rand) float64 { return lo + (hi-lo)*r.Float64() }}
}

// Given is a float input of the given values, for what chance does not hit.
func Given(dims []int64, v ...float64) Arg {
	at := 0
	return Arg{dims: dims, draw: func(*rand.Rand) float64 {
		x := v[at%len(v)]
		at++
		return x
	}}
}

// Apart is a float input of both signs with 0.2 ≤ |x| < 1.5: away from the
// kink that operators such as Relu have at 0.
func Apart(dims ...int64) Arg {
	return Arg{dims: dims, draw: func(r *rand.Rand) float64 {
		v := 0.2 + 1.3*r.Float64()
		if r.IntN(2) == 0 {
			return -v
		}
		return v
	}}
}

// Distinct is a float input whose elements differ by at least 0.1, for
// operators that choose among elements.
func Distinct(dims ...int64) Arg {
	n := 1
	for _, d := range dims {
		n *= int(d)
	}
	var perm []int
	at := 0
	return Arg{dims: dims, draw: func(r *rand.Rand) float64 {
		if at == len(perm) {
			perm, at = r.Perm(n), 0
		}
		v := float64(perm[at]-n/2) * 0.1
		at++
		return v
	}}
}

// Const is a constant input: no gradient is asked for.
func Const(t *onnxgraph.Tensor) Arg { return Arg{dims: t.Dims, fixed: t} }

// Ints is a constant int64 vector.
func Ints(v ...int64) Arg { return Const(onnxgraph.Vector("", v...)) }

// Absent is an optional input left out.
func Absent() Arg { return Arg{} }

// NoGrad asks for no gradient of a float input.
func (a Arg) NoGrad() Arg { a.frozen = true; return a }

func (a Arg) absent() bool { return a.draw == nil && a.fixed == nil }

func (a Arg) len() int {
	n := 1
	for _, d := range a.dims {
		n *= int(d)
	}
	return n
}
