// https://onnx.ai/onnx/operators/onnx__ArgMax.html
// https://onnx.ai/onnx/operators/onnx__ArgMin.html
// https://onnx.ai/onnx/operators/onnx__TopK.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// choosers find the places of extreme elements.
var choosers = []*op.Def{
	argExtreme("ArgMax"), argExtreme("ArgMin"),
	{
		Name: "TopK", Versions: since(1, 10, 11, 24), Attrs: attrs(aInt("axis"), aInt("k"), aInt("largest"), aInt("sorted")),
		In: op.Between(1, 2), Out: op.Exactly(2),
		Infer: inferTopK, Flow: op.Flows(flowTopK), Grad: op.Gradient(gradTopK), Lower: op.Primitive,
	},
}

func argExtreme(name string) *op.Def {
	return &op.Def{
		Name: name, Versions: since(1, 11, 12, 13), Attrs: attrs(aInt("axis"), aInt("keepdims"), aInt("select_last_index")),
		In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			s := c.I(0).Shape().Clone()
			if s == nil {
				c.Set(0, onnxgraph.Int64, nil)
				return nil
			}
			axis, err := c.Axis(c.Node.Int("axis", 0), len(s))
			if err != nil {
				return err
			}
			if c.Node.Int("keepdims", 1) != 0 {
				s[axis] = onnxgraph.Known(1)
			} else {
				s = append(s[:axis], s[axis+1:]...)
			}
			c.Set(0, onnxgraph.Int64, s)
			return nil
		},
		Flow: op.Flows(func(c op.FlowCtx) error {
			r := c.InFact(0).Rank()
			if r < 1 {
				return opaque(c, "the rank is not known")
			}
			axis := nodeAxis(c.Node(), 0, r)
			c.Fix(c.In(0, axis), "its places are the result")
			o := 0
			for a := range r {
				switch {
				case a != axis:
					c.Link(c.In(0, a), c.Out(0, o))
				case c.Node().Int("keepdims", 1) == 0:
					continue
				}
				o++
			}
			return nil
		}),
		Grad: op.ZeroGrad, Lower: op.Primitive,
	}
}

// nodeAxis is the attribute axis, normalised for an operator that inference
// has accepted.
func nodeAxis(n *onnxgraph.Node, def int64, rank int) int {
	a := int(n.Int("axis", def))
	if a < 0 {
		a += rank
	}
	return min(max(a, 0), max(rank-1, 0))
}

func inferTopK(c *op.InferCtx) error {
	s := c.I(0).Shape().Clone()
	if s != nil {
		axis, err := c.Axis(c.Node.Int("axis", -1), len(s))
		if err != nil {
			return err
		}
		k := sizeOf(c.I(1))
		if a := c.Node.Attr("k"); a != nil {
			k = onnxgraph.Known(a.I)
		}
		if k.IsKnown() && s[axis].IsKnown() && k.Value > s[axis].Value {
			return c.Errorf("axis", "the %d largest of %s elements", k.Value, s[axis])
		}
		s[axis] = k
	}
	c.Set(0, c.I(0).DType(), s)
	c.Set(1, onnxgraph.Int64, s.Clone())
	return nil
}

// flowTopK: the chosen elements stand in order of size, whatever the order of
// the input; only their places depend on it.
func flowTopK(c op.FlowCtx) error {
	r := c.InFact(0).Rank()
	if r < 1 {
		return opaque(c, "the rank is not known")
	}
	axis := nodeAxis(c.Node(), -1, r)
	fixAll(c, "the number of elements to choose", 1)
	for o := range c.Node().Outputs {
		if c.OutFact(o) == nil {
			continue
		}
		c.Fix(c.Out(o, axis), "elements stand in order of size")
		if o == 1 {
			c.Fix(c.In(0, axis), "its places are a result")
		}
		for a := range r {
			if a != axis {
				c.Link(c.In(0, a), c.Out(o, a))
			}
		}
	}
	return nil
}

func gradTopK(c op.GradCtx) error {
	k := calc{c}
	c.SetGI(0, k.Emit("ScatterElements", []string{k.zerosLike(c.I(0)), c.Output(1), c.GO(0)}, onnxgraph.IntAttr("axis", c.Node().Int("axis", -1))))
	return nil
}
