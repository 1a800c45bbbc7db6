package ops

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// rnnGrads are the recurrent layers of upstream's training graphs: forward
// with the gates as further outputs, and backward through time by them.
var rnnGrads = []*op.Def{
	training("LSTMTraining", op.Between(3, 8), op.Between(1, 5), append(attrs(aInt("input_forget")), rnnAttrs...), func(c *op.InferCtx) error {
		return inferRNNTraining(c, 4, 3, 4)
	}, func(k lowCalc) error {
		u, r, err := unrollLSTM(k)
		if err != nil {
			return err
		}
		u.set(r)
		u.SetO(2, u.last(r.cT))
		u.SetO(3, u.sequence(r.c))
		u.SetO(4, u.sequence(r.gates))
		return nil
	}),
	training("GRUTraining", op.Between(3, 6), op.Between(1, 3), append(attrs(aInt("linear_before_reset")), rnnAttrs...), func(c *op.InferCtx) error {
		return inferRNNTraining(c, 3, -1, 2)
	}, func(k lowCalc) error {
		u, r, err := unrollGRU(k)
		if err != nil {
			return err
		}
		u.set(r)
		u.SetO(2, u.sequence(r.gates))
		return nil
	}),
	training("LSTMGrad", op.Between(3, 12), op.Between(1, 7), append(attrs(aInt("input_forget")), rnnAttrs...), func(c *op.InferCtx) error {
		return inferRNNGrad(c, 4, []int{0, 1, 2, -1, 4, 5})
	}, lowerLSTMGrad),
	training("GRUGrad", op.Between(3, 10), op.Between(1, 5), append(attrs(aInt("linear_before_reset")), rnnAttrs...), func(c *op.InferCtx) error {
		return inferRNNGrad(c, 3, []int{0, 1, 2, -1, 5})
	}, lowerGRUGrad),
}

// inferRNNTraining: the outputs of the layer, then all cell states (output
// cells, -1 for none) and all gates (output gateOut).
func inferRNNTraining(c *op.InferCtx, gates int64, cells, gateOut int) error {
	if err := inferRNN(c, gates); err != nil {
		return err
	}
	y := c.I(0)
	seq := unknowns(4)
	if len(c.Out) > 0 && c.Out[0].Shape() != nil {
		seq = c.Out[0].Shape().Clone()
	}
	if cells >= 0 {
		c.Set(cells, y.DType(), seq.Clone())
	}
	seq[3] = mulDims(seq[3], onnxgraph.Known(gates))
	c.Set(gateOut, y.DType(), seq)
	return nil
}

// inferRNNGrad gives each output the type of the input that it is the gradient
// of; the bias [D,2·G·H] has none among them.
func inferRNNGrad(c *op.InferCtx, gates int64, from []int) error {
	dtype := c.I(0).DType()
	for o := range c.Out {
		switch {
		case o < len(from) && from[o] >= 0 && c.I(from[o]) != nil:
			c.Set(o, dtype, c.I(from[o]).Shape().Clone())
		case o == 3:
			bias := unknowns(2)
			if r := c.I(2).Shape(); len(r) == 3 {
				bias = onnxgraph.Shape{r[0], mulDims(r[2], onnxgraph.Known(2*gates))}
			}
			c.Set(o, dtype, bias)
		default:
			c.Set(o, dtype, nil)
		}
	}
	return nil
}

// throughTime holds, by direction, the gradients that the walk back in time
// collects.
type throughTime struct {
	*unrolled
	dx, dw, dr, db, dh0, dc0 []string
}

// at cuts the time steps of direction d out of a sequence [T,D,B,n], each
// [1,B,n].
func (u *unrolled) at(seq string, d int64) []string {
	return u.split(u.direction(seq, d), 0, 1, u.steps)
}

// direction is the part [T,B,n] of a sequence [T,D,B,n].
func (u *unrolled) direction(seq string, d int64) string {
	return u.squeeze(u.slice(seq, 1, d, d+1), 1)
}

// gradAt are the gradients of the steps' outputs and of the final state;
// "" where there is none.
func (u *unrolled) gradAt(dy, dLast string, d int64) (steps []string, last string) {
	steps = make([]string, u.steps)
	if dy != "" {
		steps = u.at(dy, d)
	}
	if dLast != "" {
		last = u.slice(dLast, 0, d, d+1)
	}
	return steps, last
}

// sumOf adds what there is.
func (u *unrolled) sumOf(parts ...string) string {
	sum := ""
	for _, p := range parts {
		switch {
		case p == "":
		case sum == "":
			sum = p
		default:
			sum = u.add(sum, p)
		}
	}
	return sum
}

// outer is Σ over time and batch of aᵀ·b, for a [T,B,m] and b [T,B,n].
func (u *unrolled) outer(a, b string) string {
	rows := func(x string) string { return u.Emit("Flatten", []string{x}, onnxgraph.IntAttr("axis", 2)) }
	return u.Emit("Gemm", []string{rows(a), rows(b)}, onnxgraph.IntAttr("transA", 1))
}

// before lists the states that the steps of direction d start from.
func (u *unrolled) before(states []string, first string, d int64) []string {
	out := make([]string, u.steps)
	prev := first
	for _, t := range u.order(d) {
		out[t] = prev
		prev = states[t]
	}
	return out
}

// sigmoidSlope is s·(1 − s), tanhSlope 1 − t².
func (u *unrolled) sigmoidSlope(s string) string { return u.sub(s, u.square(s)) }
func (u *unrolled) tanhSlope(t string) string {
	return u.sub(u.ScalarLike(t, 1), u.square(t))
}

// plain refuses what upstream's backward kernels do not do either.
func (u *unrolled) plain(lastInput int) error {
	n := u.Node()
	switch {
	case n.Int("layout", 0) != 0 || n.Attr("activations") != nil && !defaultActivations(n) || u.clip != 0 || n.Int("input_forget", 0) != 0:
		return u.Errorf("only the default activations and layout have a backward form")
	case len(n.Inputs) <= lastInput:
		return u.Errorf("%d inputs, expected the gates among them", len(n.Inputs))
	}
	return nil
}

func defaultActivations(n *onnxgraph.Node) bool {
	want := []string{"Sigmoid", "Tanh", "Tanh"}
	if n.OpType == "GRUGrad" {
		want = want[:2]
	}
	for i, s := range n.Attr("activations").Strings {
		if string(s) != want[i%len(want)] {
			return false
		}
	}
	return true
}

// lowerLSTMGrad: X, W, R, lengths, h0, c0, all h, all c, gates (i, o, f, c),
// dY, dY_h, dY_c → dX, dW, dR, dB, dh0, dc0.
func lowerLSTMGrad(k lowCalc) error {
	u, err := unroll(k, 4, []string{"Sigmoid", "Tanh", "Tanh"}, 3)
	if err != nil {
		return err
	}
	if err := u.plain(8); err != nil {
		return err
	}
	if k.HasO(6) {
		return k.Errorf("peephole weights have no backward form")
	}
	g := &throughTime{unrolled: u}
	for d := range u.dirs {
		g.lstm(d)
	}
	g.finish()
	return nil
}

func (u *throughTime) lstm(d int64) {
	h0, c0 := u.initial(u.I(4), d), u.initial(u.I(5), d)
	cells := u.direction(u.I(7), d)
	q := u.split(u.direction(u.I(8), d), -1, u.hidden, 4)
	u.lstmBackward(d, &lstmStates{
		in: q[0], out: q[1], forget: q[2], cand: q[3],
		cells: cells, prevCells: u.shifted(cells, c0, d), prev: u.shifted(u.direction(u.I(6), d), h0, d), h0: h0,
	}, lstmArrivals{u.I(9), u.I(10), u.I(11)})
}

// weights collects the gradients of X, W, R and B from those of the sums that
// enter the gates: what comes from X, and what comes from the states before.
func (u *throughTime) weights(d int64, fromX, before, fromH string) {
	u.dx = append(u.dx, u.matrix(fromX, u.of(u.I(1), d)))
	u.dw = append(u.dw, u.unsqueeze(u.outer(fromX, u.x), 0))
	u.dr = append(u.dr, u.unsqueeze(u.outer(fromH, before), 0))
	half := u.sum(fromX, false, 0, 1)
	other := half
	if fromH != fromX {
		other = u.sum(fromH, false, 0, 1)
	}
	u.db = append(u.db, u.unsqueeze(u.concat(0, []string{half, other}), 0))
}

// finish gives the outputs, those of the directions joined.
func (u *throughTime) finish() {
	u.SetO(0, u.sumOf(u.dx...))
	for o, parts := range [][]string{1: u.dw, u.dr, u.db, u.dh0, u.dc0} {
		if u.HasO(o) && len(parts) > 0 {
			u.SetO(o, u.concat(0, parts))
		}
	}
}

// lowerGRUGrad: X, W, R, B, lengths, h0, all h, gates (z, r, h), dY, dY_h →
// dX, dW, dR, dB, dh0.
func lowerGRUGrad(k lowCalc) error {
	u, err := unroll(k, 3, []string{"Sigmoid", "Tanh"}, 4)
	if err != nil {
		return err
	}
	if err := u.plain(7); err != nil {
		return err
	}
	g := &throughTime{unrolled: u}
	for d := range u.dirs {
		g.gru(d)
	}
	g.finish()
	return nil
}

func (u *throughTime) gru(d int64) {
	h0 := u.initial(u.I(5), d)
	q := u.split(u.direction(u.I(7), d), -1, u.hidden, 3)
	s := &gruStates{update: q[0], reset: q[1], cand: q[2], prev: u.shifted(u.direction(u.I(6), d), h0, d), h0: h0}
	if u.linearFirst() {
		s.inner = u.gruInner(d, s.prev)
	}
	u.gruBackward(d, s, u.I(8), u.I(9))
}
