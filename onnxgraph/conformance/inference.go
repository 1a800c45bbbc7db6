package conformance

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
)

// question is a way to ask inference about a model.
type question struct {
	name string
	ask  func(m *onnxgraph.Model, reg *op.Registry, d DataSet) (*infer.Result, error)
}

// From the most that is known to the least: precision is judged by the first
// two, contradictions are looked for in all.
var questions = []question{
	{"with the inputs' shapes", func(m *onnxgraph.Model, reg *op.Registry, d DataSet) (*infer.Result, error) {
		return infer.Run(typed(m, d, asStored), reg, infer.Options{})
	}},
	{"with the inputs' values", func(m *onnxgraph.Model, reg *op.Registry, d DataSet) (*infer.Result, error) {
		m, _ = filled(m, d, 0)
		return infer.Run(m, reg, infer.Options{})
	}},
	{"as declared", func(m *onnxgraph.Model, reg *op.Registry, d DataSet) (*infer.Result, error) {
		return infer.Run(m, reg, infer.Options{})
	}},
	{"with symbols for all extents", func(m *onnxgraph.Model, reg *op.Registry, d DataSet) (*infer.Result, error) {
		return infer.Run(typed(m, d, ranked), reg, infer.Options{})
	}},
}

// inference says how well inference describes the stored outputs. The types
// that the file declares for anything but its inputs are withheld from it.
func inference(m *onnxgraph.Model, reg *op.Registry, sets []DataSet) string {
	bare := m.Clone()
	if len(m.Functions) > 0 {
		std, err := rewrite.Standard(m, reg)
		if err != nil {
			return words(err)
		}
		bare = std
	}
	bare.Graph.EachGraph(func(g *onnxgraph.Graph) {
		g.ValueInfo = nil
		for _, v := range g.Outputs {
			v.Type = onnxgraph.Type{}
		}
	})
	var missed [2]string
	for _, d := range sets {
		for i, q := range questions {
			facts, err := q.ask(bare.Clone(), reg, d)
			if err != nil {
				return q.name + ": " + words(err)
			}
			extents := bind(m, facts, d)
			for k, want := range d.Out {
				name := m.Graph.Outputs[k].Name
				f := facts.Fact(name)
				if err := contradicts(f, want, extents); err != nil {
					return fmt.Sprintf("%s: output %s: %v", q.name, name, err)
				}
				if i < len(missed) && missed[i] == "" {
					missed[i] = missing(f.Type, want.Type())
				}
			}
		}
	}
	switch {
	case missed[0] == "":
		return "exact"
	case missed[1] == "":
		return "exact from values"
	}
	return missed[1]
}

// typed is m with the types of its stored inputs, as change makes them.
func typed(m *onnxgraph.Model, d DataSet, change func(onnxgraph.Type) onnxgraph.Type) *onnxgraph.Model {
	m = m.Clone()
	for i, v := range d.In {
		declared := &m.Graph.Inputs[i].Type
		empty := v.Kind == onnxgraph.SequenceKind && len(v.Elems) == 0
		if declared.Kind == v.Kind && !empty {
			*declared = change(v.Type())
		}
	}
	return m
}

// asStored leaves a type as it is.
func asStored(t onnxgraph.Type) onnxgraph.Type { return t }

// ranked is a tensor type with unknown extents.
func ranked(t onnxgraph.Type) onnxgraph.Type {
	for a := range t.Shape {
		t.Shape[a] = onnxgraph.UnknownDim()
	}
	return t
}

// filled is m with its tensor inputs, from the given one on, as Constant nodes,
// and what is left of the data set.
func filled(m *onnxgraph.Model, d DataSet, from int) (*onnxgraph.Model, DataSet) {
	m = typed(m, d, asStored)
	rest := DataSet{Out: d.Out}
	var constants []*onnxgraph.Node
	var inputs []*onnxgraph.Value
	for i, v := range m.Graph.Inputs {
		given := i < len(d.In)
		if i < from || !given || d.In[i].Kind != onnxgraph.TensorKind || v.Type.Kind != onnxgraph.TensorKind {
			inputs = append(inputs, v)
			if given {
				rest.In = append(rest.In, d.In[i])
			}
			continue
		}
		constants = append(constants, &onnxgraph.Node{OpType: "Constant", Outputs: []string{v.Name}, Attrs: []*onnxgraph.Attribute{onnxgraph.TensorAttr("value", d.In[i].Tensor)}})
		m.Graph.Initializers = slices.DeleteFunc(m.Graph.Initializers, func(t *onnxgraph.Tensor) bool { return t.Name == v.Name })
	}
	m.Graph.Inputs = inputs
	m.Graph.Nodes = append(constants, m.Graph.Nodes...)
	return m, rest
}

// bind gives the symbols of the inputs' shapes the stored extents.
func bind(m *onnxgraph.Model, facts *infer.Result, d DataSet) map[string]int64 {
	out := map[string]int64{}
	for i, v := range d.In {
		s := facts.Fact(m.Graph.Inputs[i].Name).Shape()
		if v.Kind != onnxgraph.TensorKind || len(s) != len(v.Tensor.Dims) {
			continue
		}
		for a, dim := range s {
			if dim.Symbol != "" {
				out[dim.Symbol] = v.Tensor.Dims[a]
			}
		}
	}
	return out
}

// contradicts compares a fact with the stored value that it should describe.
func contradicts(f *op.Fact, want *Value, extents map[string]int64) error {
	if f == nil {
		return fmt.Errorf("no fact")
	}
	t := f.Type
	if t.Kind == onnxgraph.OptionalKind && t.Elem != nil {
		t = *t.Elem
	}
	if err := unlike(t, want, extents); err != nil {
		return fmt.Errorf("inferred as %s, stored as %s: %w", f.Type, want.Type(), err)
	}
	if want.Kind != onnxgraph.TensorKind {
		return nil
	}
	if f.Const != nil {
		return compareTensors(want.Tensor, f.Const, tolerances[1])
	}
	for i, e := range f.Elems {
		n, ok := evaluate(e, extents)
		stored, err := want.Tensor.AsDoubles()
		if ok && err == nil && (i >= len(stored) || stored[i] != float64(n)) {
			return fmt.Errorf("element %d is inferred as %s = %d, stored are %v", i, e, n, stored)
		}
	}
	return nil
}

// unlike compares a type, whose symbols have values, with that of a value.
func unlike(t onnxgraph.Type, want *Value, extents map[string]int64) error {
	switch {
	case want.Kind == onnxgraph.NoType:
		return nil
	case t.Kind != want.Kind:
		return fmt.Errorf("kinds differ")
	case want.Kind == onnxgraph.SequenceKind && t.Elem == nil:
		return nil
	case want.Kind == onnxgraph.SequenceKind:
		for i, e := range want.Elems {
			if err := unlike(*t.Elem, e, extents); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	case t.DType != want.Tensor.DType:
		return fmt.Errorf("element types differ")
	case t.Shape == nil:
		return nil
	case len(t.Shape) != len(want.Tensor.Dims):
		return fmt.Errorf("ranks differ")
	}
	for a, d := range t.Shape {
		if n, ok := evaluate(d, extents); ok && n != want.Tensor.Dims[a] {
			return fmt.Errorf("axis %d is %s = %d", a, d, n)
		}
	}
	return nil
}

// missing names what a type leaves open, "" where it states all there is.
func missing(t, want onnxgraph.Type) string {
	switch {
	case want.Kind == onnxgraph.NoType:
		return ""
	case t.Kind == onnxgraph.OptionalKind && t.Elem != nil:
		return missing(*t.Elem, want)
	case want.Kind == onnxgraph.SequenceKind && t.Elem != nil:
		return missing(*t.Elem, *want.Elem)
	case want.Kind != onnxgraph.TensorKind || want.Shape == nil: // or elements of several ranks
		return ""
	case t.Shape == nil:
		return noRank
	}
	n := 0
	for a, d := range t.Shape {
		if !d.IsKnown() && want.Shape[a].IsKnown() {
			n++
		}
	}
	if n > 0 {
		return fmt.Sprintf("%d of %d %s", n, len(t.Shape), open)
	}
	return ""
}
