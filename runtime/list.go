package ort

import (
	"errors"
	"fmt"

	"ninox/onnxgraph"
	"ninox/runtime/internal/capi"
)

// SequenceValue makes a value that is a list of the given values, which are
// shared with it.
func SequenceValue(elems ...*Value) (*Value, error) {
	if len(elems) == 0 {
		return nil, errors.New("sequence: no elements, and ONNX Runtime takes no empty sequences")
	}
	return &Value{kind: onnxgraph.SequenceKind, elems: elems}, nil
}

// MapValue makes a value that maps each element of keys, a vector of int64 or
// strings, to the element of the vector values in the same place.
func MapValue(keys, values *Value) (*Value, error) {
	if len(keys.dims) != 1 || len(values.dims) != 1 || keys.dims[0] != values.dims[0] {
		return nil, fmt.Errorf("map: keys %s and values %s, expected two vectors of one length", keys, values)
	}
	return &Value{kind: onnxgraph.MapKind, dtype: keys.dtype, elems: []*Value{keys, values}}, nil
}

// Kind says whether the value is a tensor, a sequence or a map.
func (v *Value) Kind() onnxgraph.TypeKind {
	if v.kind == onnxgraph.NoType {
		return onnxgraph.TensorKind
	}
	return v.kind
}

// Elems are the elements of a sequence, or the keys and the values of a map;
// nil for tensors.
func (v *Value) Elems() []*Value { return v.elems }

// Type is the type of the value. A sequence whose elements differ has that of
// the first.
func (v *Value) Type() onnxgraph.Type {
	t := onnxgraph.Type{Kind: v.Kind(), DType: v.dtype}
	var elem onnxgraph.Type
	switch {
	case t.Kind == onnxgraph.TensorKind:
		t.Shape = onnxgraph.StaticShape(v.dims...)
		return t
	case t.Kind == onnxgraph.MapKind:
		elem = onnxgraph.TensorOf(v.elems[1].dtype, onnxgraph.Shape{})
	case len(v.elems) > 0:
		elem = v.elems[0].Type()
	}
	t.Elem = &elem
	return t
}

// listKinds are the kinds of the C API that have elements.
var listKinds = map[int]onnxgraph.TypeKind{capi.KindSequence: onnxgraph.SequenceKind, capi.KindMap: onnxgraph.MapKind}

// newList makes the library's object for a value with elements.
func (v *Value) newList() (capi.Handle, error) {
	handles := make([]capi.Handle, len(v.elems))
	for i, e := range v.elems {
		h, err := e.open()
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		handles[i] = h
	}
	for kind, k := range listKinds {
		if k == v.kind {
			return capi.NewList(kind, handles)
		}
	}
	return nil, fmt.Errorf("not a value with elements: %s", v)
}

// receivedList copies the elements of a sequence or map of the library.
func receivedList(h capi.Handle, kind int) (*Value, error) {
	v := &Value{kind: listKinds[kind]}
	n, err := capi.Count(h)
	if err != nil {
		return nil, err
	}
	for i := range n {
		element, err := capi.Element(h, i)
		if err != nil {
			return nil, err
		}
		e, err := received(element)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		v.elems = append(v.elems, e)
	}
	if v.kind == onnxgraph.MapKind {
		if n != 2 {
			return nil, fmt.Errorf("a map of %d parts, expected keys and values", n)
		}
		v.dtype = v.elems[0].dtype
	}
	return v, nil
}
