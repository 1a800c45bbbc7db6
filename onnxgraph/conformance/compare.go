package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

// tolerance bounds |got − want| by atol + rtol·|want| + norm·max|want|: the
// terms of a sum are rounded however small the sum is.
type tolerance struct {
	word             string
	rtol, atol, norm float64
}

// tolerances are tried in this order. The second is that of ONNX's own tests.
var tolerances = []tolerance{
	{word: "ok", rtol: 1e-5, atol: 1e-7, norm: 1e-6},
	{word: "ok 1e-3", rtol: 1e-3, atol: 1e-7},
}

// sameType compares types and shapes.
func sameType(want *Value, got *ort.Value) error {
	switch {
	case want.Kind == onnxgraph.NoType && got == nil:
		return nil
	case want.Kind == onnxgraph.NoType || got == nil:
		return errors.New("one of the two holds nothing")
	case want.Kind != got.Kind():
		return fmt.Errorf("it is %s, stored as %s", got, want.Type())
	case want.Kind == onnxgraph.SequenceKind:
		if len(want.Elems) != len(got.Elems()) {
			return fmt.Errorf("%d elements, stored are %d", len(got.Elems()), len(want.Elems))
		}
		return nil
	case want.Tensor.DType != got.DType() || !slices.Equal(want.Tensor.Dims, got.Dims()):
		return fmt.Errorf("it is %s, stored as %s", got, want.Type())
	}
	return nil
}

// closeness is the first of the tolerances within which two values are the
// same; the error is what the first has against it.
func closeness(want *Value, got *ort.Value) (int, error) {
	first := compare(want, got, tolerances[0])
	if first == nil {
		return 0, nil
	}
	for i, tol := range tolerances[1:] {
		if compare(want, got, tol) == nil {
			return i + 1, nil
		}
	}
	return 0, first
}

// compare compares values: exactly, but for floating-point numbers.
func compare(want *Value, got *ort.Value, tol tolerance) error {
	if err := sameType(want, got); err != nil {
		return err
	}
	switch want.Kind {
	case onnxgraph.TensorKind:
		return compareTensors(want.Tensor, got.Tensor(""), tol)
	case onnxgraph.SequenceKind:
		for i, e := range want.Elems {
			if err := compare(e, got.Elems()[i], tol); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
	}
	return nil
}

// compareTensors compares two tensors of one type and shape.
func compareTensors(want, got *onnxgraph.Tensor, tol tolerance) error {
	if want.DType == onnxgraph.String {
		for i, s := range want.Strings {
			if !bytes.Equal(s, got.Strings[i]) {
				return fmt.Errorf("element %d is %q, stored is %q", i, got.Strings[i], s)
			}
		}
		return nil
	}
	a, ok := numbers(want)
	b, _ := numbers(got)
	if !ok {
		return compareBytes(want, got)
	}
	largest := 0.0
	for _, w := range a {
		if !math.IsInf(w, 0) && !math.IsNaN(w) {
			largest = max(largest, math.Abs(w))
		}
	}
	tol.atol += tol.norm * largest
	for i, w := range a {
		if !near(w, b[i], tol) {
			return fmt.Errorf("element %d is %.9g, stored is %.9g", i, b[i], w)
		}
	}
	return nil
}

// compareBytes compares integers, bools and numbers of eight bits and less, of
// which every NaN is as good as another.
func compareBytes(want, got *onnxgraph.Tensor) error {
	for i, w := range want.Data {
		if g := got.Data[i]; g != w && !(nan8(want.DType, w) && nan8(want.DType, g)) {
			return fmt.Errorf("byte %d is %#02x, stored is %#02x", i, g, w)
		}
	}
	return nil
}

func nan8(d onnxgraph.DType, b byte) bool {
	switch d {
	case onnxgraph.Float8E4M3FN:
		return b&0x7f == 0x7f
	case onnxgraph.Float8E5M2:
		return b&0x7f > 0x7c
	}
	return false // the other types have one NaN
}

// numbers are the elements of a floating-point or complex tensor.
func numbers(t *onnxgraph.Tensor) ([]float64, bool) {
	parts := *t
	switch t.DType {
	case onnxgraph.Float, onnxgraph.Double, onnxgraph.Float16, onnxgraph.BFloat16:
	case onnxgraph.Complex64:
		parts.DType = onnxgraph.Float
		parts.Dims = []int64{int64(len(t.Data) / 4)}
	case onnxgraph.Complex128:
		parts.DType = onnxgraph.Double
		parts.Dims = []int64{int64(len(t.Data) / 8)}
	default:
		return nil, false
	}
	v, err := parts.AsDoubles()
	return v, err == nil
}

func near(want, got float64, tol tolerance) bool {
	if math.IsNaN(want) || math.IsInf(want, 0) {
		return want == got || math.IsNaN(want) && math.IsNaN(got)
	}
	return math.Abs(got-want) <= tol.atol+tol.rtol*math.Abs(want)
}
