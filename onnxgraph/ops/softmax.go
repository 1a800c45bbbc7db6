// https://onnx.ai/onnx/operators/onnx__Softmax.html and LogSoftmax. Before
// opset 13 they normalise over all axes from the given one on (default 1),
// since then over that axis alone (default the last).

package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

func softmaxLike(name string, grad func(c op.GradCtx, k calc, y, dy string, axis int64) string) *op.Def {
	return &op.Def{
		Name: name, Versions: since(1, 11, 13), Attrs: attrs(aInt("axis")), In: op.Exactly(1), Out: op.Exactly(1),
		Infer: func(c *op.InferCtx) error {
			if err := inferLike(c); err != nil || c.I(0).Rank() < 1 {
				return err
			}
			_, err := c.Axis(softmaxAxis(c.Node, c.Opset), c.I(0).Rank())
			return err
		},
		// Normalisation treats the elements it sums over alike.
		Flow: op.Elementwise(),
		Grad: op.Gradient(func(c op.GradCtx) error {
			c.SetGI(0, grad(c, calc{c}, c.O(0), c.GO(0), softmaxAxis(c.Node(), c.Opset())))
			return nil
		}),
		Lower: op.Primitive,
	}
}

func softmaxAxis(n *onnxgraph.Node, opset int64) int64 {
	if opset < 13 {
		return n.Int("axis", 1)
	}
	return n.Int("axis", -1)
}

var softmaxes = []*op.Def{
	softmaxLike("Softmax", func(c op.GradCtx, k calc, y, dy string, axis int64) string {
		q := k.mul(dy, y)
		return k.sub(q, k.mul(y, k.sum(q, true, axis)))
	}),
	softmaxLike("LogSoftmax", func(c op.GradCtx, k calc, y, dy string, axis int64) string {
		if index, r := picked(c, y, dy, axis); index != "" {
			return k.crossEntropyGrad(y, index, r, axis)
		}
		return k.sub(dy, k.mul(k.one("Exp", y), k.sum(dy, true, axis)))
	}),
}

// picked recognises a gradient that is zero but for one element along the
// axis, as GatherElements leaves it in cross-entropy, and returns the index
// and the value of that element; "" where it is not so.
func picked(c op.GradCtx, y, dy string, axis int64) (index, value string) {
	n := c.Source(dy)
	if n == nil || n.OpType != "ScatterElements" || n.Str("reduction", "none") != "none" {
		return "", ""
	}
	if !zeroTensor(c.Source(n.Input(0))) {
		return "", ""
	}
	s, at := c.Fact(y).Shape(), c.Fact(n.Input(1)).Shape()
	if axis < 0 {
		axis += int64(len(s))
	}
	along := n.Int("axis", 0)
	if along < 0 {
		along += int64(len(s))
	}
	if along != axis || len(at) != len(s) {
		return "", ""
	}
	for a := range s {
		if int64(a) == axis && at[a] != onnxgraph.Known(1) || int64(a) != axis && !at[a].Same(s[a]) {
			return "", ""
		}
	}
	return n.Input(1), n.Input(2)
}

// crossEntropyGrad is r·(1 at the index − exp y): two passes over the classes
// instead of six, which counts with a vocabulary.
func (k calc) crossEntropyGrad(y, index, r string, axis int64) string {
	p := k.one("Exp", y)
	there := k.Emit("GatherElements", []string{p, index}, onnxgraph.IntAttr("axis", axis))
	return k.scatter(k.mul(p, k.neg(r)), index, k.sub(r, k.mul(r, there)), axis, false)
}

// zeroTensor says whether a node makes a tensor of zeros.
func zeroTensor(n *onnxgraph.Node) bool {
	if n == nil || n.OpType != "ConstantOfShape" {
		return false
	}
	a := n.Attr("value")
	return a == nil || !slices.ContainsFunc(a.T.Data, func(b byte) bool { return b != 0 })
}
