// https://onnx.ai/onnx/operators/onnx__SequenceConstruct.html and
// ConcatFromSequence, SequenceAt, SequenceEmpty, SequenceErase,
// SequenceInsert, SequenceLength, SplitToSequence, and Optional,
// OptionalGetElement, OptionalHasElement.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// sequenceOps handle lists of tensors. Axis flow and gradients do not follow
// values into a list.
var sequenceOps = []*op.Def{
	inSequence("SequenceConstruct", since(11), nil, op.AtLeast(1), func(c *op.InferCtx) error {
		var elem onnxgraph.Type
		for i, in := range c.In {
			switch {
			case in == nil:
				return c.Errorf("", "input %d is required", i)
			case i == 0:
				elem = in.Type
			default:
				elem = commonType(elem, in.Type)
			}
		}
		setType(c, sequenceOf(elem))
		return nil
	}),
	inSequence("SequenceEmpty", since(11), attrs(aInt("dtype")), op.Exactly(0), func(c *op.InferCtx) error {
		setType(c, sequenceOf(onnxgraph.TensorOf(onnxgraph.DType(c.Node.Int("dtype", int64(onnxgraph.Float))), nil)))
		c.Out[0].Empty = true
		return nil
	}),
	inSequence("SequenceAt", since(11), nil, op.Exactly(2), func(c *op.InferCtx) error {
		setType(c, elemOf(c.I(0).Type))
		return nil
	}),
	inSequence("SequenceErase", since(11), nil, op.Between(1, 2), func(c *op.InferCtx) error {
		setType(c, c.I(0).Type)
		return nil
	}),
	inSequence("SequenceInsert", since(11), nil, op.Between(2, 3), func(c *op.InferCtx) error {
		if c.I(0) != nil && c.I(0).Empty && c.I(1) != nil {
			setType(c, sequenceOf(c.I(1).Type))
			return nil
		}
		setType(c, sequenceOf(commonType(elemOf(c.I(0).Type), c.I(1).Type)))
		return nil
	}),
	inSequence("SequenceLength", since(11), nil, op.Exactly(1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Int64, onnxgraph.Shape{})
		return nil
	}),
	inSequence("SplitToSequence", since(11, 24), attrs(aInt("axis"), aInt("keepdims")), op.Between(1, 2), inferSplitToSequence),
	inSequence("ConcatFromSequence", since(11), attrs(need(aInt("axis")), aInt("new_axis")), op.Exactly(1), inferConcatFromSequence),
	mapSequence,
	inSequence("Optional", since(15, 28), attrs(op.AttrSpec{Name: "type", Type: onnxgraph.AttrTypeProto}), op.Between(0, 1), func(c *op.InferCtx) error {
		var elem onnxgraph.Type
		switch a := c.Node.Attr("type"); {
		case c.I(0) != nil:
			elem = c.I(0).Type
		case a != nil && a.TP != nil:
			elem = *a.TP
		}
		setType(c, onnxgraph.Type{Kind: onnxgraph.OptionalKind, Elem: &elem})
		return nil
	}),
	inSequence("OptionalGetElement", since(15, 18, 28), nil, op.Exactly(1), func(c *op.InferCtx) error {
		setType(c, c.I(0).Type)
		if c.I(0).Type.Kind == onnxgraph.OptionalKind {
			setType(c, elemOf(c.I(0).Type))
		}
		return nil
	}),
	inSequence("OptionalHasElement", since(15, 18, 28), nil, op.Between(0, 1), func(c *op.InferCtx) error {
		c.Set(0, onnxgraph.Bool, onnxgraph.Shape{})
		return nil
	}),
}

// mapSequence applies a graph to each element of a list; inputs that are no
// lists go to every application.
var mapSequence = &op.Def{
	Name: "SequenceMap", Versions: since(17), Attrs: attrs(need(aGraph("body"))), In: op.AtLeast(1), Out: op.AtLeast(1),
	Infer: func(c *op.InferCtx) error {
		g := bodyOf(c.Node, "body")
		if g == nil || len(g.Inputs) != len(c.In) {
			return c.Errorf("body", "expected a graph of %d inputs", len(c.In))
		}
		in := make([]*op.Fact, len(c.In))
		for i, f := range c.In {
			in[i] = typeOnly(f)
			if f != nil && f.Type.Kind == onnxgraph.SequenceKind {
				in[i] = &op.Fact{Type: elemOf(f.Type)}
			}
		}
		out, err := c.Body(g, in)
		if err != nil {
			return err
		}
		if len(out) != len(c.Out) {
			return c.Errorf("body", "%d outputs, but the node has %d", len(out), len(c.Out))
		}
		for o, f := range out {
			c.Out[o].Type = sequenceOf(f.Type)
		}
		return nil
	},
	Flow:  op.Opaque("axes are not followed through lists of tensors"),
	Grad:  op.NotDifferentiable("gradients are not followed through lists of tensors"),
	Lower: op.Primitive,
}

func inSequence(name string, versions []int64, a []op.AttrSpec, in op.Arity, infer op.InferFunc) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, Attrs: a, In: in, Out: op.Exactly(1), Infer: infer,
		Flow:  op.Opaque("axes are not followed through lists of tensors"),
		Grad:  op.NotDifferentiable("gradients are not followed through lists of tensors"),
		Lower: op.Primitive,
	}
}

// setType gives output 0 any type.
func setType(c *op.InferCtx, t onnxgraph.Type) {
	if len(c.Out) > 0 {
		c.Out[0].Type = t
	}
}

func sequenceOf(elem onnxgraph.Type) onnxgraph.Type {
	return onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &elem}
}

func elemOf(t onnxgraph.Type) onnxgraph.Type {
	if t.Elem == nil {
		return onnxgraph.Type{}
	}
	return *t.Elem
}

// inferSplitToSequence: parts of a known, equal size keep it; without sizes
// each part has extent 1, or loses the axis.
func inferSplitToSequence(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if s == nil {
		setType(c, sequenceOf(onnxgraph.TensorOf(c.I(0).DType(), nil)))
		return nil
	}
	axis, err := c.Axis(c.Node.Int("axis", 0), len(s))
	if err != nil {
		return err
	}
	switch sizes, ok := elemsOf(c.I(1)); {
	case c.I(1) == nil && c.Node.Int("keepdims", 1) == 0:
		s = append(s[:axis], s[axis+1:]...)
	case c.I(1) == nil:
		s[axis] = onnxgraph.Known(1)
	case ok && equalParts(c.I(1), sizes, s[axis]):
		s[axis] = sizes[0]
	default:
		s[axis] = onnxgraph.UnknownDim()
	}
	setType(c, sequenceOf(onnxgraph.TensorOf(c.I(0).DType(), s)))
	return nil
}

// equalParts says whether all parts certainly have the first size: a scalar
// that divides the extent, or a list of equal sizes.
func equalParts(f *op.Fact, sizes []onnxgraph.Dim, extent onnxgraph.Dim) bool {
	if f.Rank() == 0 {
		return sizes[0] == onnxgraph.Known(1) || extent.IsKnown() && sizes[0].IsKnown() && sizes[0].Value > 0 && extent.Value%sizes[0].Value == 0
	}
	for _, d := range sizes {
		if !d.Same(sizes[0]) {
			return false
		}
	}
	return len(sizes) > 0
}

func inferConcatFromSequence(c *op.InferCtx) error {
	t := elemOf(c.I(0).Type)
	s := t.Shape.Clone()
	if s != nil {
		rank := len(s)
		if c.Node.Int("new_axis", 0) != 0 {
			rank++
		}
		axis, err := c.Axis(c.Node.Int("axis", 0), rank)
		if err != nil {
			return err
		}
		if rank > len(s) {
			s = stacked(s, onnxgraph.UnknownDim(), axis)
		} else {
			s[axis] = onnxgraph.UnknownDim()
		}
	}
	c.Set(0, t.DType, s)
	return nil
}
