package onnxgraph

import (
	"fmt"
	"strconv"
	"strings"
)

// Dim is one extent of a tensor: a number, a symbol such as "batch", or
// unknown. The zero value is the number 0. Dims are comparable: equal symbols
// mean equal extents; two unknown dims are never known to be equal.
type Dim struct {
	Value  int64  // the extent; -1 where it is not a known number
	Symbol string // the symbol; only where Value is -1, empty when unknown
}

// Known is the dim of a known extent.
func Known(n int64) Dim { return Dim{Value: n} }

// Sym is a symbolic dim.
func Sym(name string) Dim { return Dim{Value: -1, Symbol: name} }

// UnknownDim is a dim about which nothing is known.
func UnknownDim() Dim { return Dim{Value: -1} }

// IsKnown says whether the extent is a number.
func (d Dim) IsKnown() bool { return d.Value >= 0 }

// Same says whether both dims are certainly the same extent.
func (d Dim) Same(o Dim) bool { return d == o && (d.Value >= 0 || d.Symbol != "") }

// String prints the number, the symbol, or "?".
func (d Dim) String() string {
	switch {
	case d.Value >= 0:
		return strconv.FormatInt(d.Value, 10)
	case d.Symbol != "":
		return d.Symbol
	}
	return "?"
}

// Shape is a list of dims. A nil Shape means "rank unknown"; a scalar has the
// empty, non-nil Shape.
type Shape []Dim

// StaticShape makes a shape of known extents.
func StaticShape(dims ...int64) Shape {
	s := make(Shape, len(dims))
	for i, d := range dims {
		s[i] = Known(d)
	}
	return s
}

// Static returns the extents where all are known.
func (s Shape) Static() ([]int64, bool) {
	if s == nil {
		return nil, false
	}
	out := make([]int64, len(s))
	for i, d := range s {
		if !d.IsKnown() {
			return nil, false
		}
		out[i] = d.Value
	}
	return out, true
}

// Clone returns a copy that shares nothing with s, keeping nil as nil.
func (s Shape) Clone() Shape {
	if s == nil {
		return nil
	}
	return append(Shape{}, s...)
}

// String prints "[2,batch,?]", or "[...]" where the rank is unknown.
func (s Shape) String() string {
	if s == nil {
		return "[...]"
	}
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = d.String()
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// TypeKind tells the cases of Type apart.
type TypeKind int

// Kinds of ONNX types.
const (
	NoType TypeKind = iota
	TensorKind
	SequenceKind
	OptionalKind
	MapKind
	SparseTensorKind
)

// Type is the type of a value (TypeProto in the specification).
type Type struct {
	Kind       TypeKind
	DType      DType // element type of tensors; key type of maps
	Shape      Shape // of tensors; nil where the rank is unknown
	Elem       *Type // element of sequences and optionals, value of maps
	Denotation string
	spelt      []byte // the message in the file, where it says more than the fields above
}

// TensorOf is the type of a dense tensor.
func TensorOf(d DType, s Shape) Type { return Type{Kind: TensorKind, DType: d, Shape: s} }

// String prints the type as the ONNX text format does, e.g. "float[batch,3]".
func (t Type) String() string {
	elem := func() string {
		if t.Elem == nil {
			return "?"
		}
		return t.Elem.String()
	}
	switch t.Kind {
	case TensorKind:
		return t.DType.String() + t.Shape.String()
	case SparseTensorKind:
		return "sparse_tensor(" + t.DType.String() + t.Shape.String() + ")"
	case SequenceKind:
		return "seq(" + elem() + ")"
	case OptionalKind:
		return "optional(" + elem() + ")"
	case MapKind:
		return fmt.Sprintf("map(%s, %s)", t.DType, elem())
	}
	return "undefined"
}
