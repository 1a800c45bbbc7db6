// https://onnx.ai/onnx/operators/onnx__Reshape.html

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var reshape = &op.Def{
	Name: "Reshape", Versions: since(1, 5, 13, 14, 19, 21, 23, 24, 25), In: op.Between(1, 2), Out: op.Exactly(1),
	Attrs: attrs(aInt("allowzero"), aInts("shape"), consumed),
	Infer: inferReshape, Flow: op.Flows(flowReshape), Grad: op.Gradient(gradLikeInput), Lower: op.Primitive,
}

// gradLikeInput is the gradient of operators that only reinterpret the shape.
func gradLikeInput(c op.GradCtx) error {
	k := calc{c}
	c.SetGI(0, k.likeShape(c.GO(0), c.I(0)))
	return nil
}

func inferReshape(c *op.InferCtx) error {
	x := c.I(0)
	out, known := reshapeTarget(c)
	if !known {
		rank := sizeOfVector(c.I(1))
		if rank < 0 || rank > maxElems {
			c.Set(0, x.DType(), nil)
			return nil
		}
		c.Set(0, x.DType(), unknowns(int(rank)))
		return nil
	}
	var copied []int
	if c.Node.Int("allowzero", 0) == 0 {
		var err error
		if copied, err = copyZeros(c, out, x.Shape()); err != nil {
			return err
		}
	}
	if x.Shape() != nil {
		if err := fillReshape(c, out, x.Shape(), copied); err != nil {
			return err
		}
	}
	c.Set(0, x.DType(), out)
	carryElems(c)
	return nil
}

// reshapeTarget is the wanted shape; -1 and what is not known are both unknown
// dims, since either can follow from the number of elements.
func reshapeTarget(c *op.InferCtx) (onnxgraph.Shape, bool) {
	if a := c.Node.Attr("shape"); a != nil {
		return onnxgraph.StaticShape(a.Ints...), true
	}
	d, ok := elemsOf(c.I(1))
	if !ok {
		return nil, false
	}
	return onnxgraph.Shape(d).Clone(), true
}

// copyZeros replaces each 0 of the target by the input's extent there, and
// lists these axes.
func copyZeros(c *op.InferCtx, out, in onnxgraph.Shape) ([]int, error) {
	var copied []int
	for i, d := range out {
		if d != onnxgraph.Known(0) {
			continue
		}
		switch {
		case in == nil:
			out[i] = onnxgraph.UnknownDim()
		case i >= len(in):
			return nil, c.Errorf("", "element %d of the target shape is 0, but the input %s has no axis %d", i, in, i)
		default:
			out[i] = in[i]
			copied = append(copied, i)
		}
	}
	return copied, nil
}

// fillReshape finds the one missing extent from the number of elements, and
// checks static targets. Axes that are copied, whatever their extent, count on
// neither side.
func fillReshape(c *op.InferCtx, out, in onnxgraph.Shape, copied []int) error {
	missing, rest, total := -1, onnxgraph.Known(1), onnxgraph.Known(1)
	for i, d := range in {
		if !slices.Contains(copied, i) {
			total = mulDims(total, d)
		}
	}
	for i, d := range out {
		if slices.Contains(copied, i) {
			continue
		}
		if d.Value < -1 {
			return c.Errorf("", "element %d of the target shape is %d", i, d.Value)
		}
		if d.Value >= 0 || d.Symbol != "" {
			rest = mulDims(rest, d)
			continue
		}
		if missing >= 0 {
			return nil
		}
		missing = i
	}
	if missing < 0 {
		if rest.IsKnown() && total.IsKnown() && rest != total {
			return c.Errorf("", "%s has %s elements, the target %s has %s", in, total, out, rest)
		}
		return nil
	}
	if rest.IsKnown() && total.IsKnown() && rest.Value > 0 && total.Value%rest.Value != 0 {
		return c.Errorf("", "%s elements of %s do not divide into the target %s", total, in, out)
	}
	out[missing] = divDims(total, rest)
	if !out[missing].IsKnown() && out[missing].Symbol == "" {
		out[missing] = unmatched(in, out, missing)
	}
	return nil
}

// unmatched is the one input extent that no other output extent takes, where
// all others match one to one: [?, T, C] to [-1, T, C].
func unmatched(in, out onnxgraph.Shape, missing int) onnxgraph.Dim {
	left := in.Clone()
	for i, d := range out {
		if i == missing {
			continue
		}
		for k, e := range left {
			if d.Same(e) {
				left = append(left[:k:k], left[k+1:]...)
				break
			}
		}
	}
	if len(left) == 1 && len(in) == len(out) {
		return left[0]
	}
	return onnxgraph.UnknownDim()
}

// carryElems hands the elements of input 0 on to output 0, which has the same
// elements in the same order.
func carryElems(c *op.InferCtx) {
	if c.I(0) != nil && c.I(0).Param && !c.I(0).DType().IsInteger() {
		return
	}
	if v, ok := intsOf(c.I(0)); ok {
		setInts(c, 0, v)
		return
	}
	if c.Out[0].Rank() <= 1 {
		if d, ok := signedElems(c.I(0)); ok && product(c.Out[0].Shape()).IsKnown() {
			setElems(c, 0, d)
			return
		}
	}
	if v, ok := floatsOf(c.I(0)); ok {
		setFloats(c, 0, v)
	}
}

func flowReshape(c op.FlowCtx) error {
	if c.InFact(0).Rank() < 0 || c.OutFact(0).Rank() < 0 {
		return opaque(c, "the rank is unknown")
	}
	regroup(c, inExtents(c, 0), outExtents(c, 0))
	fixAll(c, "is a shape", 1)
	return nil
}
