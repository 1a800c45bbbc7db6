// Package weights holds named host arrays (parameter states, network weights,
// batches) as gorgonia tensors, and their files: safetensors and NumPy's npz.
//
//	s, meta, err := weights.ReadSafetensors("state.safetensors")
//	w := s.Get("fc.weight") // *tensor.Dense, nil where absent
package weights

import (
	"fmt"

	"gorgonia.org/tensor"

	"ninox/onnxgraph"
)

// Set is an ordered collection of named arrays. The zero value is empty and
// ready to use.
type Set struct {
	names []string
	by    map[string]*tensor.Dense
}

// Add appends an array under a new name or replaces the one of that name.
func (s *Set) Add(name string, t *tensor.Dense) {
	if s.by == nil {
		s.by = map[string]*tensor.Dense{}
	}
	if _, ok := s.by[name]; !ok {
		s.names = append(s.names, name)
	}
	s.by[name] = t
}

// AddFloats appends a float32 array that aliases data.
func (s *Set) AddFloats(name string, dims []int64, data []float32) {
	s.Add(name, DenseFloats(dims, data))
}

// Get returns the array of a name, nil where there is none.
func (s *Set) Get(name string) *tensor.Dense { return s.by[name] }

// Floats returns the elements of a float32 array, row-major and aliased, or an
// error where the array is missing or of another type.
func (s *Set) Floats(name string) ([]float32, error) {
	t := s.by[name]
	if t == nil {
		return nil, fmt.Errorf("array %q is missing", name)
	}
	switch v := t.Data().(type) {
	case []float32:
		return v, nil
	case float32: // gorgonia hands scalars out unboxed
		return []float32{v}, nil
	}
	return nil, fmt.Errorf("array %q is %s, expected float32", name, t.Dtype())
}

// Tensor is the array of a name over the same memory, nil where there is none:
// hosts that ninox runs on store numbers as ONNX does.
func (s *Set) Tensor(name string) *onnxgraph.Tensor {
	d := s.by[name]
	if d == nil {
		return nil
	}
	t := &onnxgraph.Tensor{Name: name, Dims: Dims(d)}
	switch d.Dtype() { // not by Data, which gives a scalar's value instead of its memory
	case tensor.Float32:
		t.DType, t.Data = onnxgraph.Float, bytesOf(d.Float32s())
	case tensor.Int64:
		t.DType, t.Data = onnxgraph.Int64, bytesOf(d.Int64s())
	}
	return t
}

// Names lists the arrays in order. The caller must not change the slice.
func (s *Set) Names() []string { return s.names }

// Len is the number of arrays.
func (s *Set) Len() int { return len(s.names) }

// Clone copies every array.
func (s *Set) Clone() *Set {
	c := &Set{}
	for _, n := range s.names {
		c.Add(n, s.by[n].Clone().(*tensor.Dense))
	}
	return c
}

// DenseFloats wraps data, without a copy, as a row-major float32 array. A
// scalar becomes an array of shape [1],
// because gorgonia copies true scalars.
func DenseFloats(dims []int64, data []float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(ints(dims)...), tensor.WithBacking(data))
}

// DenseInt64s wraps data, without a copy, as a row-major int64 array.
func DenseInt64s(dims []int64, data []int64) *tensor.Dense {
	return tensor.New(tensor.WithShape(ints(dims)...), tensor.WithBacking(data))
}

// FromTensor converts an ONNX tensor of type float, double, float16, bfloat16
// (to float32), int64, int32 or bool (to int64).
func FromTensor(t *onnxgraph.Tensor) (*tensor.Dense, error) {
	if t.DType.IsFloat() {
		v, err := t.AsFloats()
		if err != nil {
			return nil, err
		}
		return DenseFloats(t.Dims, v), nil
	}
	v, err := t.AsInts()
	if err != nil {
		return nil, err
	}
	return DenseInt64s(t.Dims, v), nil
}

// ToTensor converts a float32 or int64 array to an ONNX tensor; dims replace
// the array's own shape where given (scalars).
func ToTensor(name string, d *tensor.Dense, dims ...int64) (*onnxgraph.Tensor, error) {
	if dims == nil {
		dims = Dims(d)
	}
	switch v := d.Data().(type) {
	case []float32:
		return onnxgraph.Floats(name, dims, v), nil
	case []int64:
		return onnxgraph.Int64s(name, dims, v), nil
	}
	return nil, fmt.Errorf("array %q: %s has no ONNX counterpart here", name, d.Dtype())
}

// Dims is the shape of an array.
func Dims(d *tensor.Dense) []int64 {
	out := make([]int64, len(d.Shape()))
	for i, n := range d.Shape() {
		out[i] = int64(n)
	}
	return out
}

// ints is a gorgonia shape; scalars get one axis so that data stays aliased.
func ints(dims []int64) []int {
	if len(dims) == 0 {
		return []int{1}
	}
	out := make([]int, len(dims))
	for i, d := range dims {
		out[i] = int(d)
	}
	return out
}
