package nino

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/x448/float16"

	"ninox/onnxgraph"
)

// Precision is how an exported network stores its matrices. They are widened
// to float32 in the graph, by Cast or DequantizeLinear, so that every runtime
// computes the same; biases and tables of scales stay float32.
type Precision string

// Precisions.
const (
	FP32 Precision = "fp32"
	FP16 Precision = "fp16" // IEEE 754 binary16
	BF16 Precision = "bf16" // the upper half of a float32
	INT8 Precision = "int8" // symmetric, one scale for each output of a matrix
)

// Precisions lists them.
func Precisions() []Precision { return []Precision{FP32, FP16, BF16, INT8} }

// int8Limit is the largest magnitude of a quantized weight.
const int8Limit = 127

// weight adds a matrix in the emitter's precision and returns it as float32.
// For int8 there is a scale for each index along the axis.
func (e emitter) weight(t *onnxgraph.Tensor, axis int) string {
	if e.precision == INT8 {
		q, scales := quantized(t, axis)
		return e.Op("DequantizeLinear", []string{e.Const(q), e.Const(scales)}, onnxgraph.IntAttr("axis", int64(axis)))
	}
	if d, ok := halfTypes[e.precision]; ok {
		return e.Op("Cast", []string{e.Const(halved(t, d))}, onnxgraph.IntAttr("to", int64(onnxgraph.Float)))
	}
	return e.Const(t)
}

// halfTypes are the element types of two bytes.
var halfTypes = map[Precision]onnxgraph.DType{FP16: onnxgraph.Float16, BF16: onnxgraph.BFloat16}

// tableRows gathers rows of a matrix. Of a quantized one only those are widened.
func (e emitter) tableRows(t *onnxgraph.Tensor, index string) string {
	if e.precision != INT8 {
		return e.Op("Gather", []string{e.weight(t, 0), index})
	}
	q, scales := quantized(t, 0)
	rows := e.Op("Gather", []string{e.Const(q), index})
	return e.Op("DequantizeLinear", []string{rows, e.Op("Gather", []string{e.Const(scales), index})}, onnxgraph.IntAttr("axis", 0))
}

// halved rounds to a type of two bytes, ties to even.
func halved(t *onnxgraph.Tensor, d onnxgraph.DType) *onnxgraph.Tensor {
	v := elements(t)
	out := &onnxgraph.Tensor{Name: t.Name, DType: d, Dims: t.Dims, Data: make([]byte, 0, 2*len(v))}
	for _, x := range v {
		bits := math.Float32bits(x)
		half := uint16((bits + 0x7fff + bits>>16&1) >> 16)
		if d == onnxgraph.Float16 {
			half = float16.Fromfloat32(x).Bits()
		}
		out.Data = binary.LittleEndian.AppendUint16(out.Data, half)
	}
	return out
}

// quantized rounds a matrix to int8, with a scale for each row (axis 0) or
// column (axis 1).
func quantized(t *onnxgraph.Tensor, axis int) (q, scales *onnxgraph.Tensor) {
	v := elements(t)
	columns := int(t.Dims[1])
	channel := func(i int) int {
		if axis == 0 {
			return i / columns
		}
		return i % columns
	}
	most := make([]float32, t.Dims[axis])
	for i, x := range v {
		most[channel(i)] = max(most[channel(i)], float32(math.Abs(float64(x))))
	}
	for i := range most {
		if most[i] /= int8Limit; most[i] == 0 {
			most[i] = 1
		}
	}
	q = &onnxgraph.Tensor{Name: t.Name, DType: onnxgraph.Int8, Dims: t.Dims, Data: make([]byte, len(v))}
	for i, x := range v {
		q.Data[i] = byte(int8(math.RoundToEven(float64(x) / float64(most[channel(i)]))))
	}
	return q, onnxgraph.Floats(t.Name+".scale", []int64{t.Dims[axis]}, most)
}

// elements reads a tensor that this package made.
func elements(t *onnxgraph.Tensor) []float32 {
	v, err := t.AsFloats()
	if err != nil {
		panic("nino: own tensor: " + err.Error())
	}
	return v
}

// checkStored makes sure that no weight became infinite.
func checkStored(m *onnxgraph.Model) error {
	for _, t := range m.Graph.Initializers {
		if !t.DType.IsFloat() {
			continue
		}
		v, err := t.AsDoubles()
		if err != nil {
			return err
		}
		for i, x := range v {
			if math.IsInf(x, 0) || math.IsNaN(x) {
				return fmt.Errorf("weight %q, element %d: %v as %s", t.Name, i, x, t.DType)
			}
		}
	}
	return nil
}
