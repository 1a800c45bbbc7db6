// https://onnx.ai/onnx/operators/onnx__Gather.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var gather = &op.Def{
	Name: "Gather", Versions: since(1, 11, 13), Attrs: attrs(aInt("axis")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: inferGather, Flow: op.Flows(flowGather), Grad: op.Gradient(gradGather), Lower: op.Primitive,
}

func inferGather(c *op.InferCtx) error {
	x, idx := c.I(0), c.I(1)
	if x.Rank() < 0 || idx.Rank() < 0 {
		c.Set(0, x.DType(), nil)
		return nil
	}
	axis, err := c.Axis(c.Node.Int("axis", 0), x.Rank())
	if err != nil {
		return err
	}
	out := append(onnxgraph.Shape{}, x.Shape()[:axis]...)
	out = append(out, idx.Shape()...)
	c.Set(0, x.DType(), append(out, x.Shape()[axis+1:]...))
	return gatherElems(c)
}

// gatherElems picks the elements of a vector, and checks constant indices.
func gatherElems(c *op.InferCtx) error {
	x := c.I(0)
	at, ok := intsOf(c.I(1))
	axis, _ := c.Axis(c.Node.Int("axis", 0), x.Rank())
	d := x.Shape()[axis]
	if !ok || !d.IsKnown() {
		return nil
	}
	for i, a := range at {
		if a < -d.Value || a >= d.Value {
			return c.Errorf("", "index %d is out of range for axis %d of extent %s", a, axis, d)
		}
		if a < 0 {
			at[i] += d.Value
		}
	}
	if x.Rank() != 1 || x.Param && x.DType().IsFloat() {
		return nil
	}
	if v, ok := intsOf(x); ok {
		out := make([]int64, len(at))
		for i, a := range at {
			out[i] = v[a]
		}
		setInts(c, 0, out)
	} else if v, ok := signedElems(x); ok && c.Out[0].Rank() <= 1 {
		out := make([]onnxgraph.Dim, len(at))
		for i, a := range at {
			out[i] = v[a]
		}
		setElems(c, 0, out)
	}
	return nil
}

func flowGather(c op.FlowCtx) error {
	x, idx := c.InFact(0), c.InFact(1)
	if x.Rank() < 1 || idx.Rank() < 0 {
		return opaque(c, "the rank is unknown")
	}
	axis := int(c.Node().Int("axis", 0))
	if axis < 0 {
		axis += x.Rank()
	}
	for a := range x.Rank() {
		switch {
		case a < axis:
			c.Link(c.In(0, a), c.Out(0, a))
		case a > axis:
			c.Link(c.In(0, a), c.Out(0, a+idx.Rank()-1))
		}
	}
	for a := range idx.Rank() {
		c.Link(c.In(1, a), c.Out(0, axis+a))
	}
	if at, ok := intsOf(idx); ok {
		flowPick(c, at, c.In(0, axis), x.Shape()[axis], axis)
	} else {
		c.Index(c.In(0, axis), "addressed by the indices of a Gather")
	}
	return nil
}

// flowPick: constant indices that run on form a segment, others have places.
func flowPick(c op.FlowCtx, at []int64, in op.Axis, d onnxgraph.Dim, axis int) {
	runs := len(at) > 0 && d.IsKnown() && c.InFact(1).Rank() == 1
	for i, a := range at {
		if a < 0 && d.IsKnown() {
			at[i] += d.Value
		}
		runs = runs && at[i] == at[0]+int64(i) && at[i] < d.Value && at[i] >= 0
	}
	if runs {
		n := int64(len(at))
		parts := c.Segment(in, onnxgraph.Known(at[0]), onnxgraph.Known(n), onnxgraph.Known(d.Value-at[0]-n))
		c.Link(parts[1], c.Out(0, axis))
		return
	}
	c.Fix(in, "picked at constant places")
	for a := range c.InFact(1).Rank() {
		c.Fix(c.Out(0, axis+a), "picked at constant places")
	}
}

// gradGather adds the gradient of each picked slice to its row. Indices may
// repeat, so it needs ScatterElements with addition (opset 16), or before that
// a product with the one-hot matrix of the indices.
func gradGather(c op.GradCtx) error {
	k := calc{c}
	x, idx := c.Fact(c.I(0)), c.Fact(c.I(1))
	if x.Rank() < 1 || idx.Rank() < 0 {
		return c.Errorf("the rank of an input is unknown")
	}
	axis := int(c.Node().Int("axis", 0))
	if axis < 0 {
		axis += x.Rank()
	}
	// One axis for all indices: dY becomes [outer…, indices, inner…].
	g := c.GO(0)
	if idx.Rank() != 1 {
		g = k.foldIndices(g, c.I(0), axis)
	}
	if c.Fact(g).Rank() != x.Rank() {
		return c.Errorf("no gradient of an empty %q of shape %s", c.I(0), x.Shape())
	}
	flat := k.reshape(c.I(1), -1)
	extent := k.dimOf(c.I(0), axis)
	at, constant := intsOf(idx)
	switch {
	case constant && distinct(at, x.Shape()[axis]):
		g = k.scatterAxis(g, flat, axis, extent, false)
	case c.Opset() >= 16:
		g = k.scatterAxis(g, flat, axis, extent, true)
	default:
		g = k.scatterOneHot(g, flat, axis, extent)
	}
	c.SetGI(0, k.likeShape(g, c.I(0)))
	return nil
}

// foldIndices reshapes dY so that the axes of the indices are one.
func (k calc) foldIndices(g, x string, axis int) string {
	rank := k.Fact(x).Rank()
	shape := k.ShapeOf(x)
	if s, ok := k.Fact(x).Shape().Static(); ok {
		dims := append(append([]int64{}, s[:axis]...), -1)
		return k.reshape(g, append(dims, s[axis+1:]...)...)
	}
	pieces := []string{k.vector(-1)}
	if axis > 0 {
		pieces = append([]string{k.slice(shape, 0, 0, int64(axis))}, pieces...)
	}
	if axis < rank-1 {
		pieces = append(pieces, k.slice(shape, 0, int64(axis)+1, int64(rank)))
	}
	return k.two("Reshape", g, k.Emit("Concat", pieces, onnxgraph.IntAttr("axis", 0)))
}

// distinct says whether no index occurs twice.
func distinct(at []int64, d onnxgraph.Dim) bool {
	if !d.IsKnown() {
		return len(at) == 1
	}
	seen := map[int64]bool{}
	for _, a := range at {
		if a < 0 {
			a += d.Value
		}
		if seen[a] {
			return false
		}
		seen[a] = true
	}
	return true
}

// scatterOneHot sums slices of g into rows: the axis is brought to the front,
// multiplied by the one-hot matrix, and brought back.
func (k calc) scatterOneHot(g, places string, axis int, extent string) string {
	d := k.Fact(g).DType()
	values := k.cast(k.vector(0, 1), d)
	hot := k.Emit("OneHot", []string{places, extent, values}, onnxgraph.IntAttr("axis", 0)) // [extent, indices]
	rank := k.Fact(g).Rank()
	front := append([]int64{int64(axis)}, append(upTo(0, axis), upTo(axis+1, rank)...)...)
	moved := k.transpose(g, front...)
	flat := k.Emit("Flatten", []string{moved}, onnxgraph.IntAttr("axis", 1))
	rows := k.two("MatMul", hot, flat)
	shape := extent
	if rank > 1 {
		rest := k.slice(k.ShapeOf(moved), 0, 1, int64(rank))
		shape = k.Emit("Concat", []string{extent, rest}, onnxgraph.IntAttr("axis", 0))
	}
	back := make([]int64, rank)
	for i, p := range front {
		back[p] = int64(i)
	}
	return k.transpose(k.two("Reshape", rows, shape), back...)
}
