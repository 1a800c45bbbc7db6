package check

import (
	"path/filepath"

	"ninox/onnxgraph"
)

// reporter takes a finding about something that the caller names.
type reporter func(format string, args ...any)

// attribute checks what an attribute holds, its subgraphs included.
func (c *checker) attribute(n *onnxgraph.Node, a *onnxgraph.Attribute, here *scope) {
	report := func(format string, args ...any) { c.reportNode(n, a.Name, format, args...) }
	if a.RefAttr != "" {
		c.reference(a, report)
	} else if !holds(a) {
		report("holds no value of its type")
	}
	if c.Level == All {
		if a.Name == "" {
			report("an attribute has no name")
		}
		if a.Type == onnxgraph.AttrUndefined && a.RefAttr == "" && c.model.IRVersion >= 2 {
			report("has no type")
		}
		if strays(a) {
			report("holds a value of another type than its own, %s", typeName(a.Type))
		}
	}
	if a.T != nil {
		c.tensor(a.T, report)
	}
	for _, t := range a.Tensors {
		c.tensor(t, report)
	}
	if a.Sparse != nil {
		c.sparse(a.Sparse, report)
	}
	for _, s := range a.Sparses {
		c.sparse(s, report)
	}
	if a.G != nil {
		c.graph(a.G, here)
	}
	for _, g := range a.Graphs {
		c.graph(g, here)
	}
}

// reference checks "@name".
func (c *checker) reference(a *onnxgraph.Attribute, report reporter) {
	if c.function == nil {
		report("refers to %q, but stands outside any function", a.RefAttr)
		return
	}
	for _, name := range c.function.Attrs {
		if name == a.RefAttr {
			return
		}
	}
	for _, d := range c.function.Defaults {
		if d.Name == a.RefAttr {
			if d.Type != a.Type && a.Type != onnxgraph.AttrUndefined {
				report("has type %s, but %q, to which it refers, %s", typeName(a.Type), a.RefAttr, typeName(d.Type))
			}
			return
		}
	}
	report("refers to %q, which the function does not have", a.RefAttr)
}

func holds(a *onnxgraph.Attribute) bool {
	switch a.Type {
	case onnxgraph.AttrTensor:
		return a.T != nil
	case onnxgraph.AttrGraph:
		return a.G != nil
	case onnxgraph.AttrSparse:
		return a.Sparse != nil
	case onnxgraph.AttrTypeProto:
		return a.TP != nil
	}
	return true
}

// strays says whether an attribute holds a value that its type does not name.
func strays(a *onnxgraph.Attribute) bool {
	if a.RefAttr != "" {
		return a.T != nil || a.G != nil || a.Sparse != nil || a.TP != nil || len(a.Floats)+len(a.Ints)+len(a.Strings)+len(a.Tensors)+len(a.Graphs)+len(a.Sparses)+len(a.Types) > 0
	}
	for t, there := range map[onnxgraph.AttrType]bool{
		onnxgraph.AttrTensor: a.T != nil, onnxgraph.AttrGraph: a.G != nil, onnxgraph.AttrSparse: a.Sparse != nil, onnxgraph.AttrTypeProto: a.TP != nil,
		onnxgraph.AttrFloats: len(a.Floats) > 0, onnxgraph.AttrInts: len(a.Ints) > 0, onnxgraph.AttrStrings: len(a.Strings) > 0,
		onnxgraph.AttrTensors: len(a.Tensors) > 0, onnxgraph.AttrGraphs: len(a.Graphs) > 0, onnxgraph.AttrSparses: len(a.Sparses) > 0, onnxgraph.AttrTypes: len(a.Types) > 0,
	} {
		if there && t != a.Type {
			return true
		}
	}
	return false
}

// tensor checks that a tensor's data fit its type and shape.
func (c *checker) tensor(t *onnxgraph.Tensor, report reporter) {
	n, ok := size(t.Dims)
	switch {
	case !t.DType.Valid():
		report("element type %s is none of the specification's", t.DType)
	case !ok:
		report("shape %v is negative or too large", t.Dims)
	case t.External != nil:
		external(t, n, report)
	case t.DType == onnxgraph.String:
		if int64(len(t.Strings)) != n {
			report("%d strings for shape %v", len(t.Strings), t.Dims)
		}
	case int64(len(t.Data)) != t.DType.RawSize(n):
		report("%d bytes of data, but %s%v takes %d", len(t.Data), t.DType, t.Dims, t.DType.RawSize(n))
	}
}

func external(t *onnxgraph.Tensor, n int64, report reporter) {
	e := t.External
	switch {
	case t.DType == onnxgraph.String:
		report("strings cannot be external data")
	case !filepath.IsLocal(filepath.FromSlash(e.Location)):
		report("external data %q lie outside the model's folder", e.Location)
	case e.Offset < 0:
		report("external data %q: offset %d is negative", e.Location, e.Offset)
	case e.Length >= 0 && e.Length != t.DType.RawSize(n):
		report("external data %q: length %d, but %s%v takes %d bytes", e.Location, e.Length, t.DType, t.Dims, t.DType.RawSize(n))
	}
}

// size is the product of dims, false where one is negative or it overflows.
func size(dims []int64) (int64, bool) {
	const limit = 1 << 54 // leaves room for the bits of an element
	n := int64(1)
	for _, d := range dims {
		if d < 0 || d > 0 && n > limit/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// sparse checks a sparse tensor: values in one axis, and an index for each,
// in ascending order and within the shape.
func (c *checker) sparse(s *onnxgraph.SparseTensor, report reporter) {
	c.tensor(s.Values, report)
	c.tensor(s.Indices, report)
	if c.Level != All {
		return
	}
	total, ok := size(s.Dims)
	if len(s.Dims) == 0 || !ok || total == 0 {
		report("shape %v, expected at least one axis and positive extents", s.Dims)
		return
	}
	if len(s.Values.Dims) != 1 {
		report("values of shape %v, expected one axis", s.Values.Dims)
		return
	}
	n, rank := s.Values.Dims[0], int64(len(s.Dims))
	if n == 0 && len(s.Indices.Dims) == 0 {
		return
	}
	linear := len(s.Indices.Dims) == 1 && s.Indices.Dims[0] == n
	coordinates := len(s.Indices.Dims) == 2 && s.Indices.Dims[0] == n && s.Indices.Dims[1] == rank
	if !linear && !coordinates || s.Indices.DType != onnxgraph.Int64 {
		report("indices are %s%v, expected int64[%d] or int64[%d %d]", s.Indices.DType, s.Indices.Dims, n, n, rank)
		return
	}
	index, err := s.Indices.AsInts()
	if err != nil {
		return // its data do not fit, which is reported
	}
	last := int64(-1)
	for i := range n {
		at := int64(0)
		if linear {
			at = index[i]
		}
		for axis := int64(0); coordinates && axis < rank; axis++ {
			x := index[i*rank+axis]
			if x < 0 || x >= s.Dims[axis] {
				report("index %d is %d in axis %d, which has the extent %d", i, x, axis, s.Dims[axis])
				return
			}
			at = at*s.Dims[axis] + x
		}
		if at < 0 || at >= total {
			report("index %d is %d, expected less than %d", i, at, total)
			return
		}
		if at <= last {
			report("index %d is not greater than the one before", i)
			return
		}
		last = at
	}
}
