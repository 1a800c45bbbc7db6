package ops

import "ninox/onnxgraph/op"

// moveInts computes output 0, whose type and shape are set, from the integers
// of input 0 where both are known and small: source maps the place of an
// output element, which it may overwrite, to that of the input element.
func moveInts(c *op.InferCtx, source func(at []int64) []int64) {
	v, ok := intsOf(c.I(0))
	out, static := c.Out[0].Shape().Static()
	in, _ := c.I(0).Shape().Static()
	if !ok || !static || !small(c.Out[0]) {
		return
	}
	moved := make([]int64, product(c.Out[0].Shape()).Value)
	at := make([]int64, len(out))
	for k := range moved {
		rest := int64(k)
		for a := len(out) - 1; a >= 0; a-- {
			at[a] = rest % out[a]
			rest /= out[a]
		}
		flat := int64(0)
		for a, i := range source(at) {
			flat = flat*in[a] + i
		}
		if flat < 0 || flat >= int64(len(v)) {
			return
		}
		moved[k] = v[flat]
	}
	setInts(c, 0, moved)
}
