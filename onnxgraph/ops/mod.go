// https://onnx.ai/onnx/operators/onnx__Mod.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// mod has the sign of the divisor or, with fmod, that of the dividend.
var mod = &op.Def{
	Name: "Mod", Versions: since(10, 13, 28), Attrs: attrs(aInt("fmod")), In: op.Exactly(2), Out: op.Exactly(1),
	Infer: func(c *op.InferCtx) error {
		return inferPairwise(c, onnxgraph.Undefined, folder{ints: func(x []int64) (int64, bool) {
			if x[1] == 0 {
				return 0, false
			}
			r := x[0] % x[1]
			if c.Node.Int("fmod", 0) == 0 && r != 0 && (r < 0) != (x[1] < 0) {
				r += x[1]
			}
			return r, true
		}})
	},
	Flow: op.Flows(flowBinary), Lower: op.Primitive,
	Grad: op.Gradient(func(c op.GradCtx) error {
		k := calc{c}
		a, b := c.I(0), c.I(1)
		c.SetGI(0, c.GO(0))
		if c.Needs(1) { // a − b·q, the whole quotient q being constant almost everywhere
			quotient := k.div(k.sub(a, c.O(0)), b)
			c.SetGI(1, k.neg(k.mul(c.GO(0), k.one("Round", quotient))))
		}
		return nil
	}),
}
