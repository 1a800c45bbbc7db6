package nino

import (
	"math"

	"ninox/onnxgraph"
)

// Operator sets of exported networks. The first whose ScatterElements adds is
// the least.
const (
	DefaultOpset = 18
	MinOpset     = 16
	MaxOpset     = 23
)

// emitter writes the parts that the network's models share.
type emitter struct {
	*onnxgraph.Builder
	opset     int64
	precision Precision // of matrices; "" is fp32
}

func newEmitter(name string, opset int64) emitter {
	return emitter{Builder: onnxgraph.NewBuilder(name, opset), opset: opset}
}

// linear is x·Wᵀ + b for x [rows, in].
func (e emitter) linear(x, name string, l linear) string {
	return e.Op("Gemm", []string{x, e.weight(l.matrix(name+".weight"), 1), e.Const(l.bias(name + ".bias"))})
}

// product is x·Wᵀ for x [..., in].
func (e emitter) product(x, name string, l linear) string {
	return e.Op("MatMul", []string{x, e.weight(l.matrix(name+".weight"), 1)})
}

func (e emitter) add(x, y string) string { return e.Op("Add", []string{x, y}) }
func (e emitter) mul(x, y string) string { return e.Op("Mul", []string{x, y}) }
func (e emitter) silu(x string) string   { return e.mul(x, e.Op("Sigmoid", []string{x})) }

// axes is a small constant of axes, sizes or positions.
func (e emitter) axes(v ...int64) string { return e.Const(onnxgraph.Vector("axes", v...)) }

// scalar is an int64 constant without axes.
func (e emitter) scalar(v int64) string {
	return e.Const(onnxgraph.Int64s("number", []int64{}, []int64{v}))
}

// head keeps the first n rows; n is a value of shape [1].
func (e emitter) head(x, n string) string {
	return e.Op("Slice", []string{x, e.axes(0), n, e.axes(0)})
}

// horizon turns the input k into the row of horizon k, counted from 0. A k
// below 1 becomes a row beyond the last, which the runtime refuses like a k
// that is too large: Gather would count it from the end.
func (e emitter) horizon(k string, horizons int) string {
	low := e.Op("Less", []string{k, e.scalar(1)})
	return e.Op("Where", []string{low, e.scalar(int64(horizons)), e.Op("Sub", []string{k, e.scalar(1)})})
}

// newest picks the newest state of features [..., F·context] along the last
// axis.
func (e emitter) newest(x string, axis, context int64) string {
	return e.Op("Slice", []string{x, e.axes(context - 1), e.axes(math.MaxInt64), e.axes(axis), e.axes(context)})
}
