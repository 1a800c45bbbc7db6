package ops

import (
	"slices"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
)

// plainLSTM says whether gradLSTM has the gradient of a node: one without
// peepholes or coupled gates.
func plainLSTM(n *onnxgraph.Node) bool {
	return plainLayer(n) && n.Int("input_forget", 0) == 0 && n.Input(7) == ""
}

// gradLSTM keeps the layer as one node in forward and computes its gates again
// from its outputs, all time steps at once; only the cells and the walk back
// are written out step by step. Through the lowering there would be five times
// the nodes, and of small layers nodes are the cost.
func gradLSTM(c op.GradCtx) error {
	u, err := unroll(lowCalc{calc{c}, gradOutputs{c}}, 4, []string{"Sigmoid", "Tanh", "Tanh"}, 4)
	if err != nil {
		return err
	}
	g := &throughTime{unrolled: u}
	y := c.Output(0)
	for d := range u.dirs {
		g.lstmBackward(d, u.lstmAgain(d, y), lstmArrivals{c.GO(0), c.GO(1), c.GO(2)})
	}
	g.finish()
	return nil
}

// gradOutputs lets a gradient rule write as the lowering of a backward
// operator does, whose outputs are the gradients without that of the lengths.
type gradOutputs struct{ op.GradCtx }

func (g gradOutputs) input(o int) int {
	if o >= 4 {
		o++
	}
	return o
}

func (g gradOutputs) HasO(o int) bool          { return g.Needs(g.input(o)) }
func (g gradOutputs) SetO(o int, value string) { g.SetGI(g.input(o), value) }

// lstmStates are what one direction of a layer computed in all time steps,
// [T,B,H] each.
type lstmStates struct {
	in, out, forget, cand  string // gates
	cells, prevCells, prev string // cells after and before a step, hidden states before it
	h0                     string // [1,B,H]
}

// lstmArrivals are the gradients of the outputs, "" where none flows in.
type lstmArrivals struct{ sequence, hidden, cell string }

// shifted is a sequence [T,B,n] one step later in the order of the direction.
func (u *unrolled) shifted(seq, first string, d int64) string {
	if u.reversed(d) {
		return u.concat(0, []string{u.slice(seq, 0, 1, u.steps), first})
	}
	return u.concat(0, []string{first, u.slice(seq, 0, 0, u.steps-1)})
}

// lstmAgain computes gates and cells from the hidden states of output y.
func (u *unrolled) lstmAgain(d int64, y string) *lstmStates {
	h0, c0 := u.initial(u.I(5), d), u.initial(u.I(6), d)
	s := &lstmStates{prev: u.shifted(u.direction(y, d), h0, d), h0: h0}
	pre := u.add(u.matrix(u.x, u.transposed(u.I(1), d)), u.matrix(s.prev, u.transposed(u.I(2), d)))
	if wb, rb := u.halves(d); wb != "" {
		pre = u.add(pre, u.add(wb, rb))
	}
	gates := u.split(u.one("Sigmoid", u.slice(pre, 2, 0, 3*u.hidden)), 2, u.hidden, 3)
	s.in, s.out, s.forget = gates[0], gates[1], gates[2]
	s.cand = u.one("Tanh", u.slice(pre, 2, 3*u.hidden, 4*u.hidden))

	fresh, keep := u.split(u.mul(s.in, s.cand), 0, 1, u.steps), u.split(s.forget, 0, 1, u.steps)
	cells, cell := make([]string, u.steps), c0
	for _, t := range u.order(d) {
		cell = u.add(u.mul(keep[t], cell), fresh[t])
		cells[t] = cell
	}
	s.cells = u.concat(0, cells)
	s.prevCells = u.shifted(s.cells, c0, d)
	return s
}

// lstmBackward walks direction d back in time. What does not depend on later
// steps is computed for all steps at once.
func (u *throughTime) lstmBackward(d int64, s *lstmStates, from lstmArrivals) {
	dy, dh := u.gradAt(from.sequence, from.hidden, d)
	_, dc := u.gradAt("", from.cell, d)
	tanh := u.one("Tanh", s.cells)
	perStep := func(x string) []string { return u.split(x, 0, 1, u.steps) }
	hiddenToCell, keep := perStep(u.mul(s.out, u.tanhSlope(tanh))), perStep(s.forget)
	toGates := perStep(u.concat(2, []string{ // of a step's cell or hidden state, to the sums that enter the gates
		u.mul(s.cand, u.sigmoidSlope(s.in)),
		u.mul(tanh, u.sigmoidSlope(s.out)),
		u.mul(s.prevCells, u.sigmoidSlope(s.forget)),
		u.mul(s.in, u.tanhSlope(s.cand)),
	}))
	rec := u.of(u.I(2), d)
	pre := make([]string, u.steps)
	for _, t := range slices.Backward(u.order(d)) {
		if dh = u.sumOf(dy[t], dh); dh == "" {
			dh = u.zerosLike(s.h0)
		}
		dc = u.sumOf(u.mul(dh, hiddenToCell[t]), dc)
		pre[t] = u.mul(u.concat(2, []string{dc, dh, dc, dc}), toGates[t])
		dc, dh = u.mul(dc, keep[t]), u.matrix(pre[t], rec)
	}
	all := u.concat(0, pre)
	u.weights(d, all, s.prev, all)
	u.dh0, u.dc0 = append(u.dh0, dh), append(u.dc0, dc)
}
