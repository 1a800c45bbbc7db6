// https://onnx.ai/onnx/operators/onnx__Slice.html. Starts, ends and axes are
// attributes up to opset 9, then inputs, with steps besides.

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var slice = &op.Def{
	Name: "Slice", Versions: since(1, 10, 11, 13), Attrs: attrs(aInts("starts"), aInts("ends"), aInts("axes")),
	In: op.Between(1, 5), Out: op.Exactly(1),
	Infer: inferSlice, Flow: op.Flows(flowSlice), Grad: op.Gradient(gradSlice), Lower: op.Primitive,
}

// cut is the slice of one axis. A start or end that is not known is an
// unknown dim; negative ones count from the end as the specification says.
type cut struct {
	axis       int
	start, end sliceBound
	step       int64 // 0 where it is not known
}

// sliceBound is a start or end: a number, or a symbolic dim.
type sliceBound struct {
	number bool
	value  int64
	dim    onnxgraph.Dim
}

// sliceBounds reads a list of starts or ends from an attribute or an input.
func sliceBounds(n *onnxgraph.Node, attr string, f *op.Fact) ([]sliceBound, bool) {
	var ints []int64
	if a := n.Attr(attr); a != nil {
		ints = a.Ints
	} else if v, ok := intsOf(f); ok {
		ints = v
	} else if d, ok := elemsOf(f); ok {
		out := make([]sliceBound, len(d))
		for i, x := range d {
			out[i] = sliceBound{x.IsKnown(), x.Value, x}
		}
		return out, true
	} else {
		return nil, false
	}
	out := make([]sliceBound, len(ints))
	for i, v := range ints {
		out[i] = sliceBound{true, v, onnxgraph.Dim{Value: max(v, -1)}}
	}
	return out, true
}

// cuts reads a Slice node; ok is false where the axes are not known.
func cuts(n *onnxgraph.Node, rank int, in func(i int) *op.Fact) (list []cut, ok bool) {
	starts, ok1 := sliceBounds(n, "starts", in(1))
	ends, ok2 := sliceBounds(n, "ends", in(2))
	count := max(len(starts), len(ends))
	if !ok1 && !ok2 {
		count = int(sizeOfVector(in(1)))
	}
	axes, okAxes := n.Ints("axes"), true
	if n.Attr("axes") == nil {
		if in(3) != nil {
			axes, okAxes = intsOf(in(3))
		} else {
			axes = upTo(0, count)
		}
	}
	var steps []int64
	okSteps := true
	if in(4) != nil {
		steps, okSteps = intsOf(in(4))
	}
	if !okAxes || count < 0 {
		return nil, false
	}
	for i, a := range axes {
		c := cut{axis: int(a), step: 1}
		if c.axis < 0 {
			c.axis += rank
		}
		if c.axis < 0 || c.axis >= rank {
			return nil, false
		}
		unknown := sliceBound{dim: onnxgraph.UnknownDim()}
		c.start, c.end = unknown, unknown
		if i < len(starts) {
			c.start = starts[i]
		}
		if i < len(ends) {
			c.end = ends[i]
		}
		if !okSteps {
			c.step = 0
		} else if i < len(steps) {
			c.step = steps[i]
		}
		list = append(list, c)
	}
	return list, true
}

// farAway is the least value that exporters write for "to the end".
const farAway = 1_000_000_000

// size is the extent of the slice of an axis of extent d.
func (s cut) size(d onnxgraph.Dim) onnxgraph.Dim {
	start, end, ok := s.bounds(d)
	if !ok {
		return onnxgraph.UnknownDim()
	}
	if d.IsKnown() && start.IsKnown() && end.Value >= -1 && end.Symbol == "" {
		n := (end.Value - start.Value + s.step - sign(s.step)) / s.step
		return onnxgraph.Known(max(0, n))
	}
	if s.step == 1 {
		return subDims(end, start)
	}
	return onnxgraph.UnknownDim()
}

func sign(v int64) int64 {
	if v < 0 {
		return -1
	}
	return 1
}

// bounds are the normalised start and end on an axis of extent d. With a
// negative step the end may be -1, before the first element. ok is false
// where they are not known.
func (s cut) bounds(d onnxgraph.Dim) (start, end onnxgraph.Dim, ok bool) {
	if s.step == 0 {
		return start, end, false
	}
	if d.IsKnown() {
		if !s.start.number || !s.end.number {
			return s.symbolic(d)
		}
		lo, hi := int64(0), d.Value
		if s.step < 0 {
			lo, hi = -1, d.Value-1
		}
		norm := func(v, lo int64) onnxgraph.Dim {
			if v < 0 {
				v += d.Value
			}
			return onnxgraph.Dim{Value: min(max(v, lo), hi)}
		}
		return norm(s.start.value, max(lo, 0)), norm(s.end.value, lo), true
	}
	return s.symbolic(d)
}

// symbolic bounds of a slice with step 1, as far as they are sure whatever the
// symbols stand for: slices are assumed to lie inside the axis.
func (s cut) symbolic(d onnxgraph.Dim) (start, end onnxgraph.Dim, ok bool) {
	if s.step != 1 {
		return start, end, false
	}
	at := func(b sliceBound) onnxgraph.Dim {
		switch {
		case !b.number:
			return b.dim
		case b.value >= farAway:
			return d
		case b.value < 0:
			return subDims(d, onnxgraph.Known(-b.value))
		}
		return onnxgraph.Known(b.value)
	}
	start, end = at(s.start), at(s.end)
	known := func(x onnxgraph.Dim) bool { return x.IsKnown() || x.Symbol != "" }
	// A number that may exceed a symbolic extent is cut there: unknown.
	if end.IsKnown() && !d.IsKnown() && s.end.value > 0 {
		return start, end, false
	}
	return start, end, known(start) && known(end) && (d.IsKnown() || d.Symbol != "")
}

func inferSlice(c *op.InferCtx) error {
	x := c.I(0)
	if x.Rank() < 0 {
		c.Set(0, x.DType(), nil)
		return nil
	}
	if err := checkBounds(c); err != nil {
		return err
	}
	list, ok := cuts(c.Node, x.Rank(), c.I)
	if !ok {
		c.Set(0, x.DType(), unknowns(x.Rank()))
		return nil
	}
	out := x.Shape().Clone()
	for _, s := range list {
		if s.step == 0 && c.I(4) != nil && c.I(4).Const != nil {
			return c.Errorf("", "step 0 on axis %d", s.axis)
		}
		out[s.axis] = s.size(x.Shape()[s.axis])
	}
	c.Set(0, x.DType(), out)
	sliceElems(c, list)
	return nil
}

// checkBounds checks that there is one start, end, axis and step each, as far
// as their numbers are known.
func checkBounds(c *op.InferCtx) error {
	count, first := int64(-1), ""
	for i, name := range []string{"starts", "ends", "axes", "steps"} {
		n := sizeOfVector(c.I(i + 1))
		if a := c.Node.Attr(name); a != nil {
			n = int64(len(a.Ints))
		} else if f := c.I(i + 1); f == nil && i < 2 {
			return c.Errorf(name, "missing")
		} else if f != nil && f.Rank() >= 0 && f.Rank() != 1 {
			return c.Errorf(name, "has shape %s, expected a vector", f.Shape())
		}
		switch {
		case n < 0:
		case count < 0:
			count, first = n, name
		case n != count:
			return c.Errorf(name, "%d entries, but %s has %d", n, first, count)
		}
	}
	return nil
}

// sliceElems cuts the known elements of a vector.
func sliceElems(c *op.InferCtx, list []cut) {
	x := c.I(0)
	if x.Rank() > 1 {
		sliceMatrix(c, list)
		return
	}
	if x.Rank() != 1 || len(list) != 1 || x.Param && x.DType().IsFloat() {
		return
	}
	start, _, ok := list[0].bounds(x.Shape()[0])
	n := c.Out[0].Shape()[0]
	if !ok || !start.IsKnown() || !n.IsKnown() {
		return
	}
	at := func(i int64) int64 { return start.Value + i*list[0].step }
	if v, ok := intsOf(x); ok {
		out := make([]int64, n.Value)
		for i := range out {
			out[i] = v[at(int64(i))]
		}
		setInts(c, 0, out)
	} else if v, ok := signedElems(x); ok {
		out := make([]onnxgraph.Dim, n.Value)
		for i := range out {
			out[i] = v[at(int64(i))]
		}
		setElems(c, 0, out)
	}
}

// sliceMatrix cuts known integers of more than one axis: exporters reorder
// paddings in a matrix.
func sliceMatrix(c *op.InferCtx, list []cut) {
	start, step := make([]int64, c.I(0).Rank()), make([]int64, c.I(0).Rank())
	for i := range step {
		step[i] = 1
	}
	for _, s := range list {
		first, _, ok := s.bounds(c.I(0).Shape()[s.axis])
		if !ok || !first.IsKnown() {
			return
		}
		start[s.axis], step[s.axis] = first.Value, s.step
	}
	moveInts(c, func(at []int64) []int64 {
		for a := range at {
			at[a] = start[a] + at[a]*step[a]
		}
		return at
	})
}

func flowSlice(c op.FlowCtx) error {
	x := c.InFact(0)
	list, ok := cuts(c.Node(), x.Rank(), c.InFact)
	if x.Rank() < 0 || !ok {
		return opaque(c, "the sliced axes are computed")
	}
	fixAll(c, "lists bounds", 1, 2, 3, 4)
	sliced := map[int]cut{}
	for _, s := range list {
		sliced[s.axis] = s
	}
	for a := range x.Rank() {
		s, ok := sliced[a]
		if !ok {
			c.Link(c.In(0, a), c.Out(0, a))
			continue
		}
		flowCut(c, s, x.Shape()[a])
	}
	return nil
}

// flowCut: a piece with step 1 is a segment; what else is picked has places.
func flowCut(c op.FlowCtx, s cut, d onnxgraph.Dim) {
	in, out := c.In(0, s.axis), c.Out(0, s.axis)
	size := c.OutFact(0).Shape()[s.axis]
	start, end, ok := s.bounds(d)
	switch {
	case ok && s.step == 1 && start == onnxgraph.Known(0) && size.Same(d):
		c.Link(in, out)
	case ok && s.step == 1:
		sizes := []onnxgraph.Dim{start, size, subDims(d, end)}
		parts := c.Segment(in, sizes...)
		c.Link(parts[1], out)
	default:
		c.Fix(in, "sliced with a step or at computed places")
		c.Fix(out, "sliced with a step or at computed places")
	}
}

// gradSlice puts the gradient back to where the slice was taken.
func gradSlice(c op.GradCtx) error {
	k := calc{c}
	x := c.Fact(c.I(0))
	list, ok := cuts(c.Node(), x.Rank(), func(i int) *op.Fact { return c.Fact(c.I(i)) })
	if x.Rank() < 0 || !ok {
		return c.Errorf("the sliced axes are computed")
	}
	if pads, ok := slicePads(x.Shape(), list); ok {
		c.SetGI(0, k.padZeros(c.GO(0), pads))
		return nil
	}
	g := c.GO(0)
	for i := range list {
		at := list[len(list)-1-i]
		g = k.unslice(c, g, at, len(list)-1-i)
	}
	c.SetGI(0, g)
	return nil
}

// slicePads are the pads that undo slices of static extents with step 1.
func slicePads(s onnxgraph.Shape, list []cut) ([]int64, bool) {
	pads := make([]int64, 2*len(s))
	for _, at := range list {
		d := s[at.axis]
		start, end, ok := at.bounds(d)
		if !ok || at.step != 1 || !start.IsKnown() {
			return nil, false
		}
		after := subDims(d, end)
		if end.IsKnown() && start.Value > end.Value { // nothing was taken
			after = subDims(d, start)
		}
		if !after.IsKnown() {
			return nil, false
		}
		pads[at.axis], pads[at.axis+len(s)] = start.Value, after.Value
	}
	return pads, true
}

// padZeros pads by zeros; negative pads cut.
func (k calc) padZeros(x string, pads []int64) string {
	for _, p := range pads {
		if p != 0 {
			return k.Emit("Pad", []string{x, k.vector(pads...)})
		}
	}
	return x
}

// unslice scatters g along one axis to the places that slice number i took:
// the same slice of 0, 1, 2 … names them, each once.
func (k calc) unslice(c op.GradCtx, g string, at cut, i int) string {
	x := c.I(0)
	input := func(n int, attr string) string {
		if a := c.Node().Attr(attr); a != nil {
			return k.vector(a.Ints[i])
		}
		return k.two("Gather", c.I(n), k.vector(int64(i)))
	}
	extent := k.dimOf(x, at.axis)
	places := k.Emit("Range", []string{k.int(0), k.squeeze(extent, 0), k.int(1)})
	inputs := []string{places, input(1, "starts"), input(2, "ends"), k.vector(0)}
	if c.I(4) != "" {
		inputs = append(inputs, input(4, "steps"))
	}
	places = k.Emit("Slice", inputs)
	return k.scatterAxis(g, places, at.axis, extent, false)
}

// scatterAxis puts slice j of g, along an axis, at places[j] of a tensor of
// zeros with the given extent on that axis; add says that places repeat.
func (k calc) scatterAxis(g, places string, axis int, extent string, add bool) string {
	rank := k.Fact(g).Rank()
	if rank < 1 {
		return g // the engine has an error of what was emitted before
	}
	if axis == 0 && rank > 1 {
		return k.scatterRows(g, places, extent, add)
	}
	shape := k.ShapeOf(g)
	view := make([]int64, rank)
	for a := range view {
		view[a] = 1
	}
	view[axis] = -1
	index := k.two("Expand", k.reshape(places, view...), shape)
	pieces := []string{extent}
	if axis > 0 {
		pieces = append([]string{k.slice(shape, 0, 0, int64(axis))}, pieces...)
	}
	if axis < rank-1 {
		pieces = append(pieces, k.slice(shape, 0, int64(axis)+1, int64(rank)))
	}
	whole := pieces[0]
	if len(pieces) > 1 {
		whole = k.Emit("Concat", pieces, onnxgraph.IntAttr("axis", 0))
	}
	return k.scatter(k.zeros(whole, k.Fact(g).DType()), index, g, int64(axis), add)
}

// scatterRows is scatterAxis along the first axis of several, in elements of a
// flat tensor: ONNX Runtime finds the place of each element of ScatterElements
// axis by axis, which takes five times as long for rows.
func (k calc) scatterRows(g, places, extent string, add bool) string {
	rank := int64(k.Fact(g).Rank())
	width := k.dimOf(k.Emit("Flatten", []string{g}, onnxgraph.IntAttr("axis", 1)), 1)
	first := k.mul(k.reshape(k.cast(places, onnxgraph.Int64), -1, 1), width) // of each row
	columns := k.Emit("Range", []string{k.int(0), k.Emit("Squeeze", []string{width}), k.int(1)})
	zeros := k.zeros(k.mul(extent, width), k.Fact(g).DType())
	flat := k.scatter(zeros, k.reshape(k.add(first, columns), -1), k.reshape(g, -1), 0, add)
	row := k.slice(k.ShapeOf(g), 0, 1, rank)
	return k.two("Reshape", flat, k.Emit("Concat", []string{extent, row}, onnxgraph.IntAttr("axis", 0)))
}

// scatter is ScatterElements, adding where places may repeat.
func (k calc) scatter(data, index, updates string, axis int64, add bool) string {
	a := []*onnxgraph.Attribute{onnxgraph.IntAttr("axis", axis)}
	if add {
		a = append(a, onnxgraph.StringAttr("reduction", "add"))
	}
	return k.Emit("ScatterElements", []string{data, index, updates}, a...)
}
