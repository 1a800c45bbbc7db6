// https://onnx.ai/onnx/operators/onnx__Transpose.html

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

var transpose = &op.Def{
	Name: "Transpose", Versions: since(1, 13, 21, 23, 24, 25), Attrs: attrs(aInts("perm")), In: op.Exactly(1), Out: op.Exactly(1),
	Infer: inferTranspose, Flow: op.Flows(flowTranspose), Grad: op.Gradient(gradTranspose), Lower: op.Primitive,
}

// permutation is the attribute or, without it, the reversal of all axes.
func permutation(n *onnxgraph.Node, rank int) []int64 {
	if a := n.Attr("perm"); a != nil {
		return a.Ints
	}
	perm := upTo(0, rank)
	slices.Reverse(perm)
	return perm
}

func inferTranspose(c *op.InferCtx) error {
	x := c.I(0)
	if x.Rank() < 0 && c.Node.Attr("perm") == nil {
		c.Set(0, x.DType(), nil)
		return nil
	}
	perm := permutation(c.Node, x.Rank())
	if x.Rank() >= 0 && len(perm) != x.Rank() {
		return c.Errorf("perm", "%v does not fit rank %d", perm, x.Rank())
	}
	if _, err := normalized(c, "perm", perm, len(perm)); err != nil {
		return err
	}
	out := unknowns(len(perm))
	for i, p := range perm {
		if p < 0 {
			return c.Errorf("perm", "%v has a negative axis", perm)
		}
		if x.Rank() >= 0 {
			out[i] = x.Shape()[p]
		}
	}
	c.Set(0, x.DType(), out)
	if len(perm) <= 1 {
		carryElems(c)
		return nil
	}
	from := make([]int64, len(perm))
	moveInts(c, func(at []int64) []int64 {
		for i, p := range perm {
			from[p] = at[i]
		}
		return from
	})
	return nil
}

func flowTranspose(c op.FlowCtx) error {
	if c.InFact(0).Rank() < 0 {
		return opaque(c, "the rank is unknown")
	}
	for i, p := range permutation(c.Node(), c.InFact(0).Rank()) {
		c.Link(c.In(0, int(p)), c.Out(0, i))
	}
	return nil
}

func gradTranspose(c op.GradCtx) error {
	perm := permutation(c.Node(), c.Fact(c.GO(0)).Rank())
	inverse := make([]int64, len(perm))
	for i, p := range perm {
		inverse[p] = int64(i)
	}
	c.SetGI(0, calc{c}.transpose(c.GO(0), inverse...))
	return nil
}
