package op

import (
	"fmt"

	"ninox/onnxgraph"
)

// Fact is what is known about a value before the model runs.
type Fact struct {
	Type  onnxgraph.Type
	Const *onnxgraph.Tensor // the value itself, where it is constant (and small, unless it is an initializer)
	// Elems are the elements of an integer scalar or vector where each is known
	// as a number or a symbol, even though the whole is not constant. Results of
	// Shape and arithmetic on them travel here, so that exporters' Shape →
	// Gather → Concat → Reshape chains resolve. A negative number, which is no
	// extent, is its text as a symbol.
	Elems []onnxgraph.Dim
	Param bool // an initializer of the outermost graph
	// Empty is a sequence that certainly has no elements, whose type therefore
	// says nothing about the shape of those that are put in.
	Empty bool
}

// Shape is the tensor shape, nil where the rank is unknown or no fact is given.
func (f *Fact) Shape() onnxgraph.Shape {
	if f == nil {
		return nil
	}
	return f.Type.Shape
}

// DType is the element type, Undefined where unknown.
func (f *Fact) DType() onnxgraph.DType {
	if f == nil {
		return onnxgraph.Undefined
	}
	return f.Type.DType
}

// Rank is the number of axes, -1 where unknown.
func (f *Fact) Rank() int {
	if f.Shape() == nil {
		return -1
	}
	return len(f.Shape())
}

// Ints returns the elements as integers, where all are known numbers: from
// the constant, or from Elems.
func (f *Fact) Ints() ([]int64, bool) {
	if f == nil {
		return nil, false
	}
	if f.Const != nil {
		if v, err := f.Const.AsInts(); err == nil {
			return v, true
		}
	}
	if f.Elems == nil {
		return nil, false
	}
	return onnxgraph.Shape(f.Elems).Static()
}

// Dims returns the elements as dims, known or symbolic; false where nothing is
// known about them.
func (f *Fact) Dims() ([]onnxgraph.Dim, bool) {
	if v, ok := f.Ints(); ok {
		return onnxgraph.StaticShape(v...), true
	}
	if f == nil || f.Elems == nil {
		return nil, false
	}
	return f.Elems, true
}

// InferFunc fills the facts of a node's outputs from those of its inputs.
// It returns an error only where the node is wrong; where something is merely
// unknown it leaves unknown dims, but always a rank if there is one.
type InferFunc func(c *InferCtx) error

// InferCtx is one node as an InferFunc sees it.
type InferCtx struct {
	Node  *onnxgraph.Node
	Opset int64   // version of the node's domain that the model imports
	In    []*Fact // nil for absent inputs; as long as Node.Inputs
	Out   []*Fact // never nil; as long as Node.Outputs, to be filled
	// Body infers a subgraph attribute: in are the facts of its inputs (outer
	// values are visible by name), the result those of its outputs.
	Body func(g *onnxgraph.Graph, in []*Fact) ([]*Fact, error)
}

// I is the fact of input i, nil where it is absent.
func (c *InferCtx) I(i int) *Fact {
	if i < len(c.In) {
		return c.In[i]
	}
	return nil
}

// Set gives output i its element type and shape. Outputs that the node does
// not have are ignored; negative extents, which wrong sizes make, are unknown.
func (c *InferCtx) Set(i int, d onnxgraph.DType, s onnxgraph.Shape) {
	if i < len(c.Out) {
		for a := range s {
			if s[a].Value < 0 && s[a].Symbol == "" {
				s[a] = onnxgraph.UnknownDim()
			}
		}
		c.Out[i].Type = onnxgraph.TensorOf(d, s)
	}
}

// Axis normalises a possibly negative axis for a rank.
func (c *InferCtx) Axis(axis int64, rank int) (int, error) {
	a := axis
	if a < 0 {
		a += int64(rank)
	}
	if a < 0 || a >= int64(rank) {
		return 0, c.Errorf("axis", "%d is out of range for rank %d", axis, rank)
	}
	return int(a), nil
}

// Errorf reports a fault of this node; attr may be empty.
func (c *InferCtx) Errorf(attr, format string, args ...any) error {
	e := NewNodeError("infer", c.Node, c.Opset, fmt.Sprintf(format, args...))
	e.Attr = attr
	return e
}
