package text_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"

	"ninox/onnxgraph"
)

// difference finds the first place where two models say different things, in
// the sense of the package's documentation; "" where there is none.
func difference(a, b *onnxgraph.Model) string {
	return differ("model", reflect.ValueOf(a), reflect.ValueOf(b))
}

func differ(at string, a, b reflect.Value) string {
	switch v := a.Interface().(type) {
	case *onnxgraph.Tensor:
		if v == nil || b.IsNil() {
			break
		}
		return differTensors(at, v, b.Interface().(*onnxgraph.Tensor))
	case *onnxgraph.Attribute:
		a, b = valueOnly(v), valueOnly(b.Interface().(*onnxgraph.Attribute))
	case *onnxgraph.Type: // one that is not given may be absent or empty
		w := b.Interface().(*onnxgraph.Type)
		if isNoType(v) && isNoType(w) {
			return ""
		}
	case onnxgraph.Shape:
		if (v == nil) != b.IsNil() {
			return fmt.Sprintf("%s: %v and %v", at, v, b)
		}
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return at + ": one is nil"
			}
			return ""
		}
		return differ(at, a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			f := a.Type().Field(i)
			if !f.IsExported() {
				continue
			}
			if d := differ(at+"."+f.Name, a.Field(i), b.Field(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s: %d and %d elements", at, a.Len(), b.Len())
		}
		for i := range a.Len() {
			if d := differ(fmt.Sprintf("%s[%d]", at, i), a.Index(i), b.Index(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Float32:
		if !sameFloat(a.Float(), b.Float()) {
			return fmt.Sprintf("%s: %v and %v", at, a, b)
		}
		return ""
	}
	if !a.Equal(b) {
		return fmt.Sprintf("%s: %#v and %#v", at, a, b)
	}
	return ""
}

func isNoType(t *onnxgraph.Type) bool {
	return t == nil || t.Kind == onnxgraph.NoType && t.Denotation == ""
}

// sameFloat compares signs too, of NaNs as well.
func sameFloat(a, b float64) bool {
	return math.Signbit(a) == math.Signbit(b) && (a == b || math.IsNaN(a) && math.IsNaN(b))
}

// valueOnly is an attribute with the value of its type and no other.
func valueOnly(a *onnxgraph.Attribute) reflect.Value {
	v := onnxgraph.Attribute{Name: a.Name, Doc: a.Doc, Type: a.Type, RefAttr: a.RefAttr, Unknown: a.Unknown}
	switch {
	case a.RefAttr != "":
	case a.Type == onnxgraph.AttrFloat:
		v.F = a.F
	case a.Type == onnxgraph.AttrInt:
		v.I = a.I
	case a.Type == onnxgraph.AttrString:
		v.S = a.S
	case a.Type == onnxgraph.AttrTensor:
		v.T = a.T
	case a.Type == onnxgraph.AttrGraph:
		v.G = a.G
	case a.Type == onnxgraph.AttrSparse:
		v.Sparse = a.Sparse
	case a.Type == onnxgraph.AttrTypeProto:
		v.TP = a.TP
	case a.Type == onnxgraph.AttrFloats:
		v.Floats = a.Floats
	case a.Type == onnxgraph.AttrInts:
		v.Ints = a.Ints
	case a.Type == onnxgraph.AttrStrings:
		v.Strings = a.Strings
	case a.Type == onnxgraph.AttrTensors:
		v.Tensors = a.Tensors
	case a.Type == onnxgraph.AttrGraphs:
		v.Graphs = a.Graphs
	case a.Type == onnxgraph.AttrSparses:
		v.Sparses = a.Sparses
	case a.Type == onnxgraph.AttrTypes:
		v.Types = a.Types
	}
	return reflect.ValueOf(v)
}

func differTensors(at string, a, b *onnxgraph.Tensor) string {
	bare := func(t *onnxgraph.Tensor) reflect.Value {
		return reflect.ValueOf(onnxgraph.Tensor{Name: t.Name, Doc: t.Doc, DType: t.DType, Dims: t.Dims, Strings: t.Strings, External: t.External, Metadata: t.Metadata, Unknown: t.Unknown})
	}
	if d := differ(at, bare(a), bare(b)); d != "" || a.External != nil || bytes.Equal(a.Data, b.Data) {
		return d
	}
	x, y := *a, *b
	for _, t := range []*onnxgraph.Tensor{&x, &y} { // complex numbers are pairs
		switch t.DType {
		case onnxgraph.Complex64:
			t.DType, t.Dims = onnxgraph.Float, []int64{2 * t.Len()}
		case onnxgraph.Complex128:
			t.DType, t.Dims = onnxgraph.Double, []int64{2 * t.Len()}
		}
	}
	v, err := x.AsDoubles()
	w, err2 := y.AsDoubles()
	if err != nil || err2 != nil || x.DType != onnxgraph.Float && x.DType != onnxgraph.Double {
		return at + ".Data: the bytes differ"
	}
	for i := range v {
		if !sameFloat(v[i], w[i]) {
			return fmt.Sprintf("%s: element %d is %v and %v", at, i, v[i], w[i])
		}
	}
	return ""
}
