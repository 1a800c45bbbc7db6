// https://onnx.ai/onnx/operators/onnx__Mod.html

package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// mod has the sign of the divisor or, with fmod, that of the dividend.
var mod = pairwise("Mod", since(10, 13, 28), onnxgraph.Undefined, attrs(aInt("fmod")), folder{}, op.Gradient(func(c op.GradCtx) error {
	k := calc{c}
	a, b := c.I(0), c.I(1)
	c.SetGI(0, c.GO(0))
	if c.Needs(1) { // a − b·q, the whole quotient q being constant almost everywhere
		quotient := k.div(k.sub(a, c.O(0)), b)
		c.SetGI(1, k.neg(k.mul(c.GO(0), k.one("Round", quotient))))
	}
	return nil
}))
