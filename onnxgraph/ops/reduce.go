// Reductions: https://onnx.ai/onnx/operators/onnx__ReduceSum.html and its
// neighbours. The axes are an attribute up to opset 12 (ReduceSum) or 17 (the
// others), then an input.

package ops

import (
	"fmt"
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// reduction is one reducing operator; grad gives the gradient of the input
// from the kept-dims values of dY and Y.
func reduction(name string, versions []int64, grad func(k calc, r reduced) string) *op.Def {
	return &op.Def{
		Name: name, Versions: versions, In: op.Between(1, 2), Out: op.Exactly(1),
		Attrs: attrs(aInts("axes"), aInt("keepdims"), aInt("noop_with_empty_axes")),
		Infer: inferReduce, Flow: op.Flows(flowReduce), Lower: op.Primitive,
		Grad: op.Gradient(func(c op.GradCtx) error { return gradReduce(c, grad) }),
	}
}

var reductions = []*op.Def{
	reduction("ReduceSum", since(1, 11, 13), func(k calc, r reduced) string {
		return k.expand(r.dy, r.x)
	}),
	reduction("ReduceMean", since(1, 11, 13, 18), func(k calc, r reduced) string {
		return k.expand(r.perElement(k, r.dy), r.x)
	}),
	reduction("ReduceSumSquare", since(1, 11, 13, 18), func(k calc, r reduced) string {
		return k.mul(k.scale(r.dy, 2), r.x)
	}),
	reduction("ReduceL1", since(1, 11, 13, 18), func(k calc, r reduced) string {
		return k.mul(r.dy, k.one("Sign", r.x))
	}),
	reduction("ReduceL2", since(1, 11, 13, 18), func(k calc, r reduced) string {
		// The norm is 0 only where all elements are; their gradient is then taken as 0.
		zero := k.two("Equal", r.y, k.ScalarLike(r.y, 0))
		return k.mul(r.x, k.div(r.dy, k.where(zero, k.ScalarLike(r.y, 1), r.y)))
	}),
	reduction("ReduceLogSum", since(1, 11, 13, 18, 28), func(k calc, r reduced) string {
		return k.expand(k.div(r.dy, k.one("Exp", r.y)), r.x)
	}),
	reduction("ReduceLogSumExp", since(1, 11, 13, 18, 28), func(k calc, r reduced) string {
		return k.mul(r.dy, k.one("Exp", k.sub(r.x, r.y)))
	}),
	reduction("ReduceMax", since(1, 11, 12, 13, 18, 20), gradReduceExtremum),
	reduction("ReduceMin", since(1, 11, 12, 13, 18, 20), gradReduceExtremum),
	reduction("ReduceProd", since(1, 11, 13, 18), func(k calc, r reduced) string {
		// The product of the others is product/x where nothing is 0. With one
		// zero it is the product of the non-zero elements, at that zero only;
		// with two it is 0 everywhere.
		zero := k.two("Equal", r.x, k.ScalarLike(r.x, 0))
		zeros := k.mask(zero, r.x)
		safe := k.where(zero, k.ScalarLike(r.x, 1), r.x)
		others := k.div(r.again(k, "ReduceProd", safe), safe)
		counts := k.mask(k.two("Equal", r.again(k, "ReduceSum", zeros), zeros), r.x)
		return k.mul(k.mul(r.dy, others), counts)
	}),
}

// reduceAxes are the reduced axes; ok is false where they are not known.
func reduceAxes(n *onnxgraph.Node, axesInput *op.Fact, rank int) (axes []int, ok bool, err error) {
	given := n.Ints("axes")
	if n.Attr("axes") == nil && axesInput != nil {
		if given, ok = intsOf(axesInput); !ok {
			return nil, false, nil
		}
	}
	if len(given) == 0 {
		if n.Int("noop_with_empty_axes", 0) != 0 {
			return []int{}, true, nil
		}
		given = upTo(0, rank)
	}
	for _, a := range given {
		at := int(a)
		if at < 0 {
			at += rank
		}
		if at < 0 || at >= rank {
			return nil, false, fmt.Errorf("axis %d is out of range for rank %d", a, rank)
		}
		axes = append(axes, at)
	}
	return axes, true, nil
}

func inferReduce(c *op.InferCtx) error {
	x := c.I(0)
	rank := x.Rank()
	if rank < 0 {
		c.Set(0, x.DType(), nil)
		return nil
	}
	keep := c.Node.Int("keepdims", 1) != 0
	axes, known, err := reduceAxes(c.Node, c.I(1), rank)
	if err != nil {
		return c.Errorf("axes", "%v", err)
	}
	if !known {
		// The number of axes may be known although their values are not.
		n := sizeOfVector(c.I(1))
		switch {
		case keep:
			c.Set(0, x.DType(), unknowns(rank))
		case n > 0 && n <= int64(rank):
			c.Set(0, x.DType(), unknowns(rank-int(n)))
		default:
			c.Set(0, x.DType(), nil)
		}
		return nil
	}
	out := onnxgraph.Shape{}
	for a, d := range x.Shape() {
		switch {
		case !slices.Contains(axes, a):
			out = append(out, d)
		case keep:
			out = append(out, onnxgraph.Known(1))
		}
	}
	c.Set(0, x.DType(), out)
	foldReduce(c, len(axes) == rank)
	return nil
}

// foldReduce computes the reductions that size computations use, of a whole
// vector.
func foldReduce(c *op.InferCtx, whole bool) {
	elems, ok := elemsOf(c.I(0))
	if !ok || !whole || !derived(c) || len(elems) == 0 {
		return
	}
	acc := elems[0]
	for _, d := range elems[1:] {
		switch c.Node.OpType {
		case "ReduceProd":
			acc = mulDims(acc, d)
		case "ReduceSum":
			acc = addDims(acc, d)
		case "ReduceMax":
			acc = extremeDim(acc, d, 1)
		case "ReduceMin":
			acc = extremeDim(acc, d, -1)
		}
	}
	switch c.Node.OpType {
	case "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin":
		setElems(c, 0, []onnxgraph.Dim{acc})
	}
}

func extremeDim(a, b onnxgraph.Dim, sign int64) onnxgraph.Dim {
	switch {
	case a.Same(b):
		return a
	case !a.IsKnown() || !b.IsKnown():
		return onnxgraph.UnknownDim()
	case sign*a.Value > sign*b.Value:
		return a
	}
	return b
}

// sizeOfVector is the length of a vector, -1 where it is not known.
func sizeOfVector(f *op.Fact) int64 {
	if f.Rank() == 1 {
		return f.Shape()[0].Value
	}
	return -1
}

func flowReduce(c op.FlowCtx) error {
	in := c.InFact(0)
	axes, known, err := reduceAxes(c.Node(), c.InFact(1), in.Rank())
	if err != nil || !known || in.Rank() < 0 {
		return opaque(c, "the reduced axes are computed")
	}
	keep := c.Node().Int("keepdims", 1) != 0
	at := 0
	for a := range in.Rank() {
		reduced := slices.Contains(axes, a)
		if !reduced {
			c.Link(c.In(0, a), c.Out(0, at))
		}
		if keep || !reduced {
			at++
		}
	}
	fixAll(c, "lists axes", 1)
	return nil
}

// reduced is what the gradient of a reduction is made of: y and dy have the
// reduced axes with extent 1.
type reduced struct {
	x, y, dy string
	axes     []int64 // empty where nothing is reduced, and for scalars
	given    string  // the axes as a value, where they are computed
}

func gradReduce(c op.GradCtx, grad func(k calc, r reduced) string) error {
	k := calc{c}
	x := c.Fact(c.I(0))
	if x.Rank() < 0 {
		return c.Errorf("the rank of %q is unknown", c.I(0))
	}
	axes, known, err := reduceAxes(c.Node(), c.Fact(c.I(1)), x.Rank())
	if err != nil {
		return c.Errorf("%v", err)
	}
	r := reduced{x: c.I(0), y: c.O(0), dy: c.GO(0)}
	switch {
	case known:
		for _, a := range axes {
			r.axes = append(r.axes, int64(a))
		}
	default:
		r.given = c.I(1)
	}
	if c.Node().Int("keepdims", 1) == 0 && (r.given != "" || len(r.axes) > 0) {
		list := r.list(k)
		r.y, r.dy = k.two("Unsqueeze", r.y, list), k.two("Unsqueeze", r.dy, list)
	}
	c.SetGI(0, grad(k, r))
	return nil
}

// list is the reduced axes as a value.
func (r reduced) list(k calc) string {
	if r.given != "" {
		return r.given
	}
	return k.vector(r.axes...)
}

// again applies a reduction over the same axes to another value of x's shape.
func (r reduced) again(k calc, opType, v string) string {
	switch {
	case r.given != "":
		return k.Emit(opType, []string{v, r.given}, onnxgraph.IntAttr("noop_with_empty_axes", k.Node().Int("noop_with_empty_axes", 0)))
	case len(r.axes) == 0: // sums and products of one element
		return v
	}
	return k.reduce(opType, v, true, r.axes...)
}

// perElement divides by the number of elements that were reduced to one.
func (r reduced) perElement(k calc, v string) string {
	n := onnxgraph.Known(1)
	for _, a := range r.axes {
		n = mulDims(n, k.Fact(r.x).Shape()[a])
	}
	if n.IsKnown() && r.given == "" {
		if n.Value == 0 {
			return v
		}
		return k.scale(v, 1/float64(n.Value))
	}
	count := k.two("Div", k.one("Size", r.x), k.one("Size", r.y))
	return k.div(v, k.mask(count, v))
}

// gradReduceExtremum gives the gradient to the chosen element; equal ones
// share it.
func gradReduceExtremum(k calc, r reduced) string {
	chosen := k.mask(k.two("Equal", r.x, r.y), r.x)
	return k.mul(chosen, k.div(r.dy, r.again(k, "ReduceSum", chosen)))
}
