package certify

import (
	"fmt"
	"strings"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
)

// filling is how the elements of an input are chosen.
type filling int

const (
	drawn  filling = iota // at random
	ones                  // integers are 1, floats drawn
	zeros                 // integers are 0, floats drawn
	chosen                // all are one given number
)

// drawing is an input that is to be filled.
type drawing struct {
	name   string // in lower case
	dtype  onnxgraph.DType
	dims   []int64
	length int64 // of sequences, in this attempt
	fill   filling
	chosen float64
}

// value fills an input; a sequence gets two elements.
func (r *run) value(d drawing, t onnxgraph.Type) (*ort.Value, error) {
	switch {
	case t.Kind == onnxgraph.TensorKind:
		x, err := r.draw(d)
		if err != nil {
			return nil, err
		}
		return ort.NewValue(x)
	case t.Kind != onnxgraph.SequenceKind || t.Elem == nil:
		return nil, fmt.Errorf("no way to draw a %s", t)
	}
	d.dtype, d.dims = t.Elem.DType, make([]int64, len(t.Elem.Shape))
	for a, n := range t.Elem.Shape {
		if d.dims[a] = n.Value; !n.IsKnown() {
			d.dims[a] = d.length
		}
	}
	elems := make([]*ort.Value, 2)
	for i := range elems {
		var err error
		if elems[i], err = r.value(d, *t.Elem); err != nil {
			return nil, err
		}
	}
	return ort.SequenceValue(elems...)
}

// draw makes values that are valid for most inputs: indices within the smallest
// vocabulary, ones for masks, lengths that fit.
func (r *run) draw(d drawing) (*onnxgraph.Tensor, error) {
	t := &onnxgraph.Tensor{DType: d.dtype, Dims: d.dims}
	n := t.Len()
	if d.dtype == onnxgraph.String {
		for range n {
			t.Strings = append(t.Strings, []byte{byte('a' + r.rng.IntN(26))})
		}
		return t, nil
	}
	if d.dtype == onnxgraph.Float {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.element(&d, int64(i)))
		}
		return onnxgraph.Floats("", d.dims, v), nil
	}
	for i := range n {
		x := rewrite.ScalarTensor(d.dtype, r.element(&d, i))
		if x == nil {
			return nil, fmt.Errorf("no way to draw values of type %s", d.dtype)
		}
		t.Data = append(t.Data, x.Data...)
	}
	return t, nil
}

// element is the i-th element of an input.
func (r *run) element(d *drawing, i int64) float64 {
	named := func(part string) bool { return strings.Contains(d.name, part) }
	switch {
	case d.fill == chosen:
		return d.chosen
	case len(d.dims) == 0 && named("min"): // of a range that should hold everything
		return 0
	case len(d.dims) == 0 && named("max"):
		return 1e6
	case d.dtype.IsFloat() && named("mask"):
		return 1
	case d.dtype.IsFloat():
		return r.rng.NormFloat64()
	case d.dtype == onnxgraph.Bool || named("mask") || d.fill == ones:
		return 1
	case d.fill == zeros:
		return 0
	case named("length") || strings.HasSuffix(d.name, "len"):
		return float64(d.length)
	case named("position"):
		return float64(i % max(d.dims[len(d.dims)-1:][0], 1))
	}
	return float64(r.rng.Int64N(r.vocabulary()))
}

func (r *run) vocabulary() int64 {
	n := int64(0)
	for _, gr := range r.g.Groups {
		if gr.Role == neuralgraph.RoleVocabulary && (n == 0 || gr.Size < n) {
			n = gr.Size
		}
	}
	if n == 0 {
		return 2
	}
	return n
}
