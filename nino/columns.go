package nino

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/x448/float16"

	"ninox/onnxgraph"
)

// Arrays are named arrays of a model's parameters in one state, in memory
// (weights.Set) or in a mapped file (weights.File).
type Arrays interface {
	// Tensor is the array of a name, nil where there is none.
	Tensor(name string) *onnxgraph.Tensor
}

// column is the elements of one float array as they are stored.
type column struct {
	dtype onnxgraph.DType
	data  []byte
}

var le = binary.LittleEndian

// columnOf is the column of an array; an error says what is wrong with it.
func columnOf(t *onnxgraph.Tensor, name string) (column, error) {
	switch {
	case t == nil:
		return column{}, fmt.Errorf("array %q is missing", name)
	case t.DType != onnxgraph.Float && t.DType != onnxgraph.Float16 && t.DType != onnxgraph.BFloat16 && t.DType != onnxgraph.Double:
		return column{}, fmt.Errorf("array %q is %s, expected float, double, float16 or bfloat16", name, t.DType)
	}
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	if want := t.DType.RawSize(n); int64(len(t.Data)) != want {
		return column{}, fmt.Errorf("array %q has %d bytes of data, %s%v takes %d", name, len(t.Data), t.DType, t.Dims, want)
	}
	return column{t.DType, t.Data}, nil
}

// len is the number of elements.
func (c column) len() int { return len(c.data) * 8 / c.dtype.Bits() }

// read widens n elements, the first at number at and stride apart, to dst[0],
// dst[step], …
func (c column) read(dst []float32, step int, at, stride int64, n int) {
	switch c.dtype {
	case onnxgraph.Float:
		for i := range n {
			dst[i*step] = math.Float32frombits(le.Uint32(c.data[4*at:]))
			at += stride
		}
	case onnxgraph.BFloat16:
		for i := range n {
			dst[i*step] = math.Float32frombits(uint32(le.Uint16(c.data[2*at:])) << 16)
			at += stride
		}
	case onnxgraph.Float16:
		for i := range n {
			dst[i*step] = onnxgraph.HalfToFloat(le.Uint16(c.data[2*at:]))
			at += stride
		}
	case onnxgraph.Double:
		for i := range n {
			dst[i*step] = float32(math.Float64frombits(le.Uint64(c.data[8*at:])))
			at += stride
		}
	}
}

// floatsOf are all elements of an array.
func floatsOf(t *onnxgraph.Tensor) ([]float32, error) {
	if t == nil {
		return nil, errors.New("no array")
	}
	c, err := columnOf(t, t.Name)
	if err != nil {
		return nil, err
	}
	out := make([]float32, c.len())
	c.read(out, 1, 0, 1, len(out))
	return out, nil
}

// at is one element.
func (c column) at(i int64) float32 {
	var v [1]float32
	c.read(v[:], 1, i, 1, 1)
	return v[0]
}

// set rounds v to the column's type, to nearest even, and stores it.
func (c column) set(i int64, v float32) {
	switch c.dtype {
	case onnxgraph.Float:
		le.PutUint32(c.data[4*i:], math.Float32bits(v))
	case onnxgraph.BFloat16:
		le.PutUint16(c.data[2*i:], bfloat16(v))
	case onnxgraph.Float16:
		le.PutUint16(c.data[2*i:], float16.Fromfloat32(v).Bits())
	case onnxgraph.Double:
		le.PutUint64(c.data[8*i:], math.Float64bits(float64(v)))
	}
}

// bfloat16 rounds to the nearest number of eight significant bits; NaN stays
// one.
func bfloat16(v float32) uint16 {
	b := math.Float32bits(v)
	if v != v {
		return uint16(b>>16) | 1<<6
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Distance is the sum of the squares of a's numbers and that of b's differences
// from them. Both are float arrays of one length, of any types.
func Distance(a, b *onnxgraph.Tensor) (squares, difference float64, err error) {
	x, err := columnOf(a, a.Name)
	if err != nil {
		return 0, 0, err
	}
	y, err := columnOf(b, b.Name)
	if err != nil {
		return 0, 0, err
	}
	if x.len() != y.len() {
		return 0, 0, fmt.Errorf("array %q has %d numbers and %d", a.Name, x.len(), y.len())
	}
	var from, to [4096]float32
	for at := 0; at < x.len(); at += len(from) {
		n := min(len(from), x.len()-at)
		x.read(from[:], 1, int64(at), 1, n)
		y.read(to[:], 1, int64(at), 1, n)
		for i, v := range from[:n] {
			d := float64(to[i]) - float64(v)
			squares += float64(v) * float64(v)
			difference += d * d
		}
	}
	return squares, difference, nil
}
