package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// plainLayer says whether the gradient of a recurrent layer can be had from its
// outputs: without lengths, clipping, other activations, or the batch first.
func plainLayer(n *onnxgraph.Node) bool {
	named := func(a string) bool { return n.Attr(a) != nil }
	return !slices.ContainsFunc([]string{"activations", "activation_alpha", "activation_beta", "clip"}, named) &&
		n.Int("layout", 0) == 0 && n.Input(4) == ""
}

// gradRNN needs nothing but the outputs: tanh' is 1 − h².
func gradRNN(c op.GradCtx) error {
	u, err := unroll(lowCalc{calc{c}, gradOutputs{c}}, 1, []string{"Tanh"}, 4)
	if err != nil {
		return err
	}
	g := &throughTime{unrolled: u}
	y := c.Output(0)
	for d := range u.dirs {
		g.elmanBackward(d, u.direction(y, d), c.GO(0), c.GO(1))
	}
	g.finish()
	return nil
}

// elmanBackward walks direction d, with the hidden states [T,B,H], back in time.
func (u *throughTime) elmanBackward(d int64, states, dy, dLast string) {
	h0 := u.initial(u.I(5), d)
	slope := u.split(u.tanhSlope(states), 0, 1, u.steps)
	rec := u.of(u.I(2), d)
	steps, dh := u.gradAt(dy, dLast, d)
	pre := make([]string, u.steps)
	for _, t := range slices.Backward(u.order(d)) {
		if dh = u.sumOf(steps[t], dh); dh == "" {
			dh = u.zerosLike(h0)
		}
		pre[t] = u.mul(dh, slope[t])
		dh = u.matrix(pre[t], rec)
	}
	all := u.concat(0, pre)
	u.weights(d, all, u.shifted(states, h0, d), all)
	u.dh0 = append(u.dh0, dh)
}
