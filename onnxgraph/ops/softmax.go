// https://onnx.ai/onnx/operators/onnx__Softmax.html and LogSoftmax. Before
// opset 13 they normalise over all axes from the given one on (default 1),
// since then over that axis alone (default the last).

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

func softmaxLike(name string, grad func(k calc, y, dy string, axis int64) string) *op.Def {
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
			c.SetGI(0, grad(calc{c}, c.O(0), c.GO(0), softmaxAxis(c.Node(), c.Opset())))
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
	softmaxLike("Softmax", func(k calc, y, dy string, axis int64) string {
		q := k.mul(dy, y)
		return k.sub(q, k.mul(y, k.sum(q, true, axis)))
	}),
	softmaxLike("LogSoftmax", func(k calc, y, dy string, axis int64) string {
		return k.sub(dy, k.mul(k.one("Exp", y), k.sum(dy, true, axis)))
	}),
}
