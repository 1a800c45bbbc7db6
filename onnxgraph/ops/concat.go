// https://onnx.ai/onnx/operators/onnx__Concat.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var concat = &op.Def{
	Name: "Concat", Versions: since(1, 4, 11, 13), Attrs: attrs(aInt("axis")), In: op.AtLeast(1), Out: op.Exactly(1),
	Infer: inferConcat, Flow: op.Flows(flowConcat), Grad: op.Gradient(gradConcat), Lower: op.Primitive,
}

// concatAxis is the axis; only version 1 has a default, 1.
func concatAxis(n *onnxgraph.Node) int64 { return n.Int("axis", 1) }

func inferConcat(c *op.InferCtx) error {
	if c.Node.Attr("axis") == nil && c.Opset >= 4 {
		return c.Errorf("axis", "missing")
	}
	var out onnxgraph.Shape
	axis := 0
	for i, in := range c.In {
		s := in.Shape()
		if s == nil {
			c.Set(0, c.I(0).DType(), nil)
			return nil
		}
		if out == nil {
			var err error
			if axis, err = c.Axis(concatAxis(c.Node), len(s)); err != nil {
				return err
			}
			out = s.Clone()
			continue
		}
		if len(s) != len(out) {
			return c.Errorf("", "input %d has shape %s, input 0 %s", i, s, c.I(0).Shape())
		}
		for a := range s {
			switch {
			case a == axis:
				out[a] = addDims(out[a], s[a])
			case out[a].IsKnown() && s[a].IsKnown() && out[a] != s[a]:
				return c.Errorf("", "input %d has shape %s, input 0 %s: axis %d differs", i, s, c.I(0).Shape(), a)
			case !out[a].IsKnown() && (s[a].IsKnown() || out[a].Symbol == ""):
				out[a] = s[a]
			}
		}
	}
	c.Set(0, c.I(0).DType(), out)
	if len(out) == 1 {
		concatElems(c)
	}
	return nil
}

// concatFloats joins constants such as the scales of a Resize; parameters are
// none.
func concatFloats(c *op.InferCtx) ([]float64, bool) {
	var out []float64
	for _, in := range c.In {
		v, ok := floatsOf(in)
		if !ok || in.Param {
			return nil, false
		}
		out = append(out, v...)
	}
	return out, true
}

// concatElems joins known elements; pieces of known length but unknown
// elements stay unknown in their places.
func concatElems(c *op.InferCtx) {
	if ints, ok := concatInts(c); ok {
		setInts(c, 0, ints)
		return
	}
	if floats, ok := concatFloats(c); ok {
		setFloats(c, 0, floats)
		return
	}
	var out []onnxgraph.Dim
	some := false
	for _, in := range c.In {
		if d, ok := signedElems(in); ok {
			out = append(out, d...)
			some = true
			continue
		}
		n := sizeOfVector(in)
		if n < 0 || n > maxElems || !in.DType().IsInteger() {
			return
		}
		out = append(out, unknowns(int(n))...)
	}
	if some && c.Out[0].DType().IsInteger() {
		setElems(c, 0, out)
	}
}

func concatInts(c *op.InferCtx) ([]int64, bool) {
	var out []int64
	for _, in := range c.In {
		v, ok := intsOf(in)
		if !ok {
			return nil, false
		}
		out = append(out, v...)
	}
	return out, true
}

func flowConcat(c op.FlowCtx) error {
	out := c.OutFact(0)
	if out.Rank() < 1 {
		return opaque(c, "the rank is unknown")
	}
	axis := int(concatAxis(c.Node()))
	if axis < 0 {
		axis += out.Rank()
	}
	sizes := make([]onnxgraph.Dim, len(c.Node().Inputs))
	for i := range sizes {
		sizes[i] = c.InFact(i).Shape()[axis]
	}
	parts := c.Segment(c.Out(0, axis), sizes...)
	for i := range sizes {
		for a := range out.Rank() {
			if a == axis {
				c.Link(c.In(i, a), parts[i])
			} else {
				c.Link(c.In(i, a), c.Out(0, a))
			}
		}
	}
	return nil
}

func gradConcat(c op.GradCtx) error {
	k := calc{c}
	n := len(c.Node().Inputs)
	axis := concatAxis(c.Node())
	sizes, static := make([]int64, n), true
	lengths := make([]string, n)
	for i := range n {
		f := c.Fact(c.I(i))
		if f.Rank() < 0 {
			return c.Errorf("the rank of %q is unknown", c.I(i))
		}
		at := int(axis)
		if at < 0 {
			at += f.Rank()
		}
		sizes[i] = f.Shape()[at].Value
		static = static && sizes[i] >= 0
		lengths[i] = k.dimOf(c.I(i), at)
	}
	split := ""
	if static {
		split = k.vector(sizes...)
	} else {
		split = c.Emit("Concat", lengths, onnxgraph.IntAttr("axis", 0))
	}
	if n == 1 {
		c.SetGI(0, c.GO(0))
		return nil
	}
	for i, piece := range c.EmitN("Split", []string{c.GO(0), split}, n, onnxgraph.IntAttr("axis", axis)) {
		c.SetGI(i, piece)
	}
	return nil
}
