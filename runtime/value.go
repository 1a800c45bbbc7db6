package ort

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
	"ninox/runtime/internal/capi"
)

// Value is a tensor, sequence or map to be given to a session or received from
// one. The elements of tensors lie in Go memory, which stays valid after Close.
// Reading it while a run writes it is a race, as with any slice.
type Value struct {
	kind    onnxgraph.TypeKind // the zero value is a tensor
	elems   []*Value           // of a sequence; keys and values of a map
	dtype   onnxgraph.DType    // of a map: that of its keys
	dims    []int64
	data    []byte   // the elements as the library has them; nil for strings
	strings [][]byte // the elements of a tensor of strings
	floats  []float32
	int64s  []int64

	device bool // the elements lie in the memory of a session's device

	mu     sync.Mutex
	handle capi.Handle // made at the first use, nil before and after Close
	pin    runtime.Pinner
}

// FloatValue makes a value over data without a copy. data may be longer than
// the shape asks for; the first elements count.
func FloatValue(dims []int64, data []float32) (*Value, error) {
	n, err := length(dims, len(data))
	if err != nil {
		return nil, fmt.Errorf("float%v: %w", dims, err)
	}
	data = data[:n:n]
	return &Value{dtype: onnxgraph.Float, dims: slices.Clone(dims), floats: data, data: bytesOf(data)}, nil
}

// Int64Value makes a value over data without a copy. data may be longer than
// the shape asks for; the first elements count.
func Int64Value(dims []int64, data []int64) (*Value, error) {
	n, err := length(dims, len(data))
	if err != nil {
		return nil, fmt.Errorf("int64%v: %w", dims, err)
	}
	data = data[:n:n]
	return &Value{dtype: onnxgraph.Int64, dims: slices.Clone(dims), int64s: data, data: bytesOf(data)}, nil
}

// NewValue makes a value with a copy of the elements of t, of any element type.
func NewValue(t *onnxgraph.Tensor) (*Value, error) {
	if t.DType == onnxgraph.String {
		return stringValue(t)
	}
	n, err := length(t.Dims, math.MaxInt)
	if err == nil && !t.DType.Valid() {
		err = errors.New("not an element type of ONNX")
	}
	if want := t.DType.RawSize(int64(n)); err == nil && int64(len(t.Data)) != want {
		err = fmt.Errorf("%d bytes of data, expected %d", len(t.Data), want)
	}
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %s%v: %w", t.Name, t.DType, t.Dims, err)
	}
	v := allocate(t.DType, t.Dims, n)
	copy(v.data, t.Data)
	return v, nil
}

func stringValue(t *onnxgraph.Tensor) (*Value, error) {
	n, err := length(t.Dims, len(t.Strings))
	if err == nil && n != len(t.Strings) {
		err = fmt.Errorf("%d strings", len(t.Strings))
	}
	v := &Value{dtype: t.DType, dims: slices.Clone(t.Dims), strings: make([][]byte, n)}
	for i := range v.strings {
		if v.strings[i] = bytes.Clone(t.Strings[i]); bytes.IndexByte(t.Strings[i], 0) >= 0 {
			err = errors.New("a string with a zero byte, which ONNX Runtime cannot take")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %s%v: %w", t.Name, t.DType, t.Dims, err)
	}
	return v, nil
}

// DenseValue makes a value over the elements of d, float32 or int64 and
// contiguous, without a copy.
func DenseValue(d *tensor.Dense) (*Value, error) {
	shape := d.Shape()
	dims := make([]int64, len(shape))
	for i, n := range shape {
		dims[i] = int64(n)
	}
	if d.RequiresIterator() || !d.DataOrder().IsRowMajor() {
		return nil, fmt.Errorf("array %v: not contiguous in row-major order", shape)
	}
	switch d.Dtype() { // not by Data, which gives a scalar's value instead of its memory
	case tensor.Float32:
		return FloatValue(dims, d.Float32s())
	case tensor.Int64:
		return Int64Value(dims, d.Int64s())
	}
	return nil, fmt.Errorf("array %v of %s: expected float32 or int64", shape, d.Dtype())
}

// allocate makes a value with memory of its own for n elements.
func allocate(d onnxgraph.DType, dims []int64, n int) *Value {
	v := &Value{dtype: d, dims: slices.Clone(dims)}
	switch d {
	case onnxgraph.Float:
		v.floats = make([]float32, n)
		v.data = bytesOf(v.floats)
	case onnxgraph.Int64:
		v.int64s = make([]int64, n)
		v.data = bytesOf(v.int64s)
	default: // eight bytes at a time, for the alignment of the widest type
		size := int(d.RawSize(int64(n)))
		v.data = bytesOf(make([]uint64, (size+7)/8))[:size]
	}
	return v
}

// length is the number of elements of a shape, which have elements must hold.
func length(dims []int64, have int) (int, error) {
	n, empty := int64(1), slices.Contains(dims, 0)
	for _, d := range dims {
		if d < 0 {
			return 0, errors.New("the shape has a negative extent")
		}
		if empty {
			continue
		}
		if n > math.MaxInt64/16/d {
			return 0, errors.New("the shape is too large")
		}
		n *= d
	}
	if empty {
		n = 0
	}
	if n > int64(have) {
		return 0, fmt.Errorf("%d elements, the shape takes %d", have, n)
	}
	return int(n), nil
}

// bytesOf is the memory of s. Hosts that ONNX Runtime is built for are
// little-endian, as raw tensor data is.
func bytesOf[T float32 | int64 | uint64](s []T) []byte {
	var zero T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(zero)))
}

// Dims is the shape, not to be changed; empty for scalars.
func (v *Value) Dims() []int64 { return v.dims }

// DType is the element type.
func (v *Value) DType() onnxgraph.DType { return v.dtype }

// Floats is the memory of a float value, nil for other types.
func (v *Value) Floats() []float32 { return v.floats }

// Int64s is the memory of an int64 value, nil for other types.
func (v *Value) Int64s() []int64 { return v.int64s }

// Tensor copies the value to a tensor of the given name; nil for sequences and maps.
func (v *Value) Tensor(name string) *onnxgraph.Tensor {
	if v.Kind() != onnxgraph.TensorKind {
		return nil
	}
	t := &onnxgraph.Tensor{Name: name, DType: v.dtype, Dims: append([]int64{}, v.dims...)}
	if v.dtype == onnxgraph.String {
		t.Strings = make([][]byte, len(v.strings))
		for i, s := range v.strings {
			t.Strings[i] = bytes.Clone(s)
		}
		return t
	}
	t.Data = append([]byte{}, v.data...)
	return t
}

// String prints type and shape, e.g. "float[2,3]".
func (v *Value) String() string { return v.Type().String() }

// Close frees what the library keeps for the value; its elements stay, but for
// those in the memory of a device. A value that is no longer referenced is closed
// by the garbage collector. A closed value may be used again.
func (v *Value) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.handle == nil {
		return
	}
	capi.FreeValue(v.handle)
	v.handle = nil
	v.pin.Unpin()
	runtime.SetFinalizer(v, nil)
}

// open returns the library's object for the value, making it at the first
// use: so values can be made before the library is loaded.
func (v *Value) open() (capi.Handle, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.handle != nil {
		return v.handle, nil
	}
	var err error
	switch {
	case v.device:
		return nil, fmt.Errorf("value in the memory of a device: %w", errClosed)
	case v.kind != onnxgraph.NoType:
		v.handle, err = v.newList()
	case v.dtype == onnxgraph.String:
		v.handle, err = capi.NewStrings(v.dims, v.strings)
	default:
		v.pinned(&v.pin)
		v.handle, err = capi.NewTensor(elementType(v.dtype), v.dims, v.data)
	}
	if err != nil {
		v.handle = nil
		v.pin.Unpin()
		return nil, err
	}
	// The pins must be gone before the pinner is collected. Its owner's
	// finalizer runs first, so this one does it.
	runtime.SetFinalizer(v, (*Value).Close)
	return v.handle, nil
}

// pinned pins the memory of the elements, which the library refers to.
func (v *Value) pinned(p *runtime.Pinner) {
	if len(v.data) > 0 {
		p.Pin(unsafe.SliceData(v.data))
	}
}

// elementTypes are the C API's numbers of element types where they are not
// ONNX's own; 0 where it has none.
var elementTypes = map[onnxgraph.DType]int{
	onnxgraph.Uint2: 24, onnxgraph.Int2: 25, onnxgraph.Float8E8M0: 26, onnxgraph.Float6E2M3: 0, onnxgraph.Float6E3M2: 0,
}

// elementType is the C API's number of an element type.
func elementType(d onnxgraph.DType) int {
	if t, ok := elementTypes[d]; ok {
		return t
	}
	return int(d)
}

// elementDType is the inverse of elementType; types that onnxgraph does not
// know are Undefined.
func elementDType(t int) onnxgraph.DType {
	for d, n := range elementTypes {
		if n == t && n != 0 {
			return d
		}
	}
	if d := onnxgraph.DType(t); d.Valid() && elementType(d) == t {
		return d
	}
	return onnxgraph.Undefined
}

// received copies an output of the library and frees it; nil where it is an
// optional one that holds nothing.
func received(h capi.Handle) (*Value, error) {
	defer capi.FreeValue(h)
	kind, err := capi.Kind(h)
	if err != nil || kind == capi.KindNone {
		return nil, err
	}
	if _, ok := listKinds[kind]; ok {
		return receivedList(h, kind)
	}
	t, dims, err := capi.Describe(h, kind)
	if err != nil {
		return nil, err
	}
	d := elementDType(t)
	if d == onnxgraph.Undefined {
		return nil, fmt.Errorf("element type %d of ONNX Runtime is not supported", t)
	}
	n, err := length(dims, math.MaxInt)
	if err != nil {
		return nil, err
	}
	if d == onnxgraph.String {
		v := &Value{dtype: d, dims: dims}
		v.strings, err = capi.Strings(h, n)
		return v, err
	}
	v := allocate(d, dims, n)
	return v, capi.CopyData(h, v.data)
}
