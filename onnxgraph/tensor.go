package onnxgraph

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Tensor is a constant tensor (TensorProto). Elements lie in Data, row-major,
// little-endian, packed as raw_data of the specification whatever field of the
// file they came from; string tensors use Strings instead.
//
// Data may alias a memory-mapped file (see Model.Close): treat it as read-only
// and make a new Tensor to change values.
type Tensor struct {
	Name     string
	Doc      string
	DType    DType
	Dims     []int64
	Data     []byte
	Strings  [][]byte
	External *External // where the data lies outside the model file; Data is filled when it was loaded
	Typed    bool      // the file held the elements in a typed field (float_data …), not in raw_data; kept so that writing is lossless
	Metadata []KeyValue
	Unknown  []byte
}

// External says where a tensor's data lies (TensorProto.external_data).
type External struct {
	Location string // path relative to the model's folder
	Offset   int64
	Length   int64 // -1 where the file does not give it
	Checksum string
	Other    []KeyValue
	spelt    [][]byte // the entries as the file spells them
}

// Len is the number of elements.
func (t *Tensor) Len() int64 {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Shape is the tensor's shape.
func (t *Tensor) Shape() Shape { return StaticShape(t.Dims...) }

// Floats makes a float32 tensor; the values are copied.
func Floats(name string, dims []int64, v []float32) *Tensor {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return &Tensor{Name: name, DType: Float, Dims: append([]int64{}, dims...), Data: b}
}

// Doubles makes a float64 tensor; the values are copied.
func Doubles(name string, dims []int64, v []float64) *Tensor {
	b := make([]byte, 8*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint64(b[8*i:], math.Float64bits(x))
	}
	return &Tensor{Name: name, DType: Double, Dims: append([]int64{}, dims...), Data: b}
}

// Int64s makes an int64 tensor; the values are copied.
func Int64s(name string, dims []int64, v []int64) *Tensor {
	b := make([]byte, 8*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(x))
	}
	return &Tensor{Name: name, DType: Int64, Dims: append([]int64{}, dims...), Data: b}
}

// Vector makes a one-dimensional int64 tensor.
func Vector(name string, v ...int64) *Tensor { return Int64s(name, []int64{int64(len(v))}, v) }

// Scalar makes a float32 scalar.
func Scalar(name string, v float32) *Tensor { return Floats(name, []int64{}, []float32{v}) }

// AsFloats returns the values of a float tensor as float32 (float, double and
// integer types convert; float16 and bfloat16 widen exactly).
func (t *Tensor) AsFloats() ([]float32, error) {
	v, err := t.AsDoubles()
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out, nil
}

// AsDoubles returns the values as float64, for every real numeric type of at
// least one byte.
func (t *Tensor) AsDoubles() (out []float64, err error) {
	n, err := t.checkedLen()
	if err != nil {
		return nil, err
	}
	err = t.guarded(func() error {
		at, err := t.reader()
		if err != nil {
			return err
		}
		out = make([]float64, n)
		if t.DType == Float { // the most common one
			for i := range out {
				out[i] = float64(math.Float32frombits(le.Uint32(t.Data[4*i:])))
			}
			return nil
		}
		for i := range out {
			out[i] = at(i)
		}
		return nil
	})
	return out, err
}

// guarded runs f, which reads the data: it may lie in a file that changes.
func (t *Tensor) guarded(f func() error) error {
	if err := Guarded(f); err != nil {
		return fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return nil
}

// AsInts returns the values of an integer or bool tensor as int64.
func (t *Tensor) AsInts() (out []int64, err error) {
	n, err := t.checkedLen()
	if err != nil {
		return nil, err
	}
	err = t.guarded(func() error {
		out, err = t.ints(n)
		return err
	})
	return out, err
}

// ints reads n integers.
func (t *Tensor) ints(n int) ([]int64, error) {
	d := t.Data
	out := make([]int64, n)
	for i := range out {
		switch t.DType {
		case Int64, Uint64:
			out[i] = int64(le.Uint64(d[8*i:]))
		case Int32:
			out[i] = int64(int32(le.Uint32(d[4*i:])))
		case Uint32:
			out[i] = int64(le.Uint32(d[4*i:]))
		case Int16:
			out[i] = int64(int16(le.Uint16(d[2*i:])))
		case Uint16:
			out[i] = int64(le.Uint16(d[2*i:]))
		case Int8:
			out[i] = int64(int8(d[i]))
		case Uint8, Bool:
			out[i] = int64(d[i])
		default:
			return nil, fmt.Errorf("%s is not an integer type", t.DType)
		}
	}
	return out, nil
}

// checkedLen is the number of elements, after checking that Data holds them.
func (t *Tensor) checkedLen() (int, error) {
	n := int64(1)
	for _, d := range t.Dims {
		if d < 0 || (d > 0 && n > math.MaxInt32*int64(1024)/d) {
			return 0, fmt.Errorf("tensor %q: shape %v is negative or too large", t.Name, t.Dims)
		}
		n *= d
	}
	if t.DType.Bits() == 0 || int64(len(t.Data)) != t.DType.RawSize(n) {
		return 0, fmt.Errorf("tensor %q: %d bytes of data do not fit %s%v", t.Name, len(t.Data), t.DType, t.Dims)
	}
	return int(n), nil
}

func (t *Tensor) reader() (func(i int) float64, error) {
	d := t.Data
	switch t.DType {
	case Float:
		return func(i int) float64 { return float64(math.Float32frombits(le.Uint32(d[4*i:]))) }, nil
	case Double:
		return func(i int) float64 { return math.Float64frombits(le.Uint64(d[8*i:])) }, nil
	case Float16:
		return func(i int) float64 { return float64(HalfToFloat(le.Uint16(d[2*i:]))) }, nil
	case BFloat16:
		return func(i int) float64 { return float64(math.Float32frombits(uint32(le.Uint16(d[2*i:])) << 16)) }, nil
	}
	if t.DType.IsInteger() && t.DType.Bits() >= 8 || t.DType == Bool {
		n, err := t.checkedLen()
		if err != nil {
			return nil, err
		}
		v, err := t.ints(n)
		if err != nil {
			return nil, err
		}
		unsigned64 := t.DType == Uint64
		return func(i int) float64 {
			if unsigned64 {
				return float64(uint64(v[i]))
			}
			return float64(v[i])
		}, nil
	}
	return nil, fmt.Errorf("%s has no conversion to floating point", t.DType)
}

// HalfToFloat widens an IEEE 754 binary16 number; every value is exact.
func HalfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch {
	case exp == 0x1f: // infinity and NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp != 0:
		return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
	}
	f := float32(frac) * (1.0 / (1 << 24)) // zero and subnormal
	if sign != 0 {
		return -f
	}
	return f
}
