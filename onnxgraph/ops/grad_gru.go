package ops

import (
	"slices"

	"ninox/onnxgraph/op"
)

// gradGRU keeps the layer as one node in forward and computes its gates again
// from its outputs, all time steps at once, as gradLSTM does.
func gradGRU(c op.GradCtx) error {
	u, err := unroll(lowCalc{calc{c}, gradOutputs{c}}, 3, []string{"Sigmoid", "Tanh"}, 4)
	if err != nil {
		return err
	}
	g := &throughTime{unrolled: u}
	y := c.Output(0)
	for d := range u.dirs {
		g.gruBackward(d, u.gruAgain(d, y), c.GO(0), c.GO(1))
	}
	g.finish()
	return nil
}

// gruStates are what one direction of a layer computed in all time steps,
// [T,B,H] each.
type gruStates struct {
	update, reset, cand string // gates
	prev                string // hidden states before a step
	inner               string // with linear_before_reset, what the reset gate scales
	h0                  string // [1,B,H]
}

func (u *unrolled) linearFirst() bool { return u.Node().Int("linear_before_reset", 0) != 0 }

// gruInner is the candidate's linear map of the states before the steps.
func (u *unrolled) gruInner(d int64, prev string) string {
	rec := u.slice(u.transposed(u.I(2), d), 1, 2*u.hidden, 3*u.hidden)
	_, rb := u.halves(d)
	if rb != "" {
		rb = u.slice(rb, 0, 2*u.hidden, 3*u.hidden)
	}
	return u.plus(u.matrix(prev, rec), rb)
}

// gruAgain computes the gates from the hidden states of output y.
func (u *unrolled) gruAgain(d int64, y string) *gruStates {
	h0 := u.initial(u.I(5), d)
	s := &gruStates{prev: u.shifted(u.direction(y, d), h0, d), h0: h0}
	wb, rb := u.halves(d)
	fromX := u.plus(u.matrix(u.x, u.transposed(u.I(1), d)), wb)
	rec, two := u.transposed(u.I(2), d), 2*u.hidden
	zr := u.add(u.slice(fromX, 2, 0, two), u.matrix(s.prev, u.slice(rec, 1, 0, two)))
	if rb != "" {
		zr = u.add(zr, u.slice(rb, 0, 0, two))
	}
	gates := u.split(u.one("Sigmoid", zr), 2, u.hidden, 2)
	s.update, s.reset = gates[0], gates[1]
	s.inner = u.gruInner(d, s.prev)
	scaled := u.mul(s.reset, s.inner)
	if !u.linearFirst() {
		scaled = u.gruInner(d, u.mul(s.reset, s.prev))
	}
	s.cand = u.one("Tanh", u.add(u.slice(fromX, 2, two, 3*u.hidden), scaled))
	return s
}

// gruBackward walks direction d back in time. What does not depend on later steps
// is computed for all steps at once: with linear_before_reset all sums that enter
// the gates are multiples of the hidden state's gradient, without it those of the
// update gate and the candidate.
func (u *throughTime) gruBackward(d int64, s *gruStates, dy, dLast string) {
	perStep := func(x string) []string { return u.split(x, 0, 1, u.steps) }
	toUpdate := u.mul(u.sub(s.prev, s.cand), u.sigmoidSlope(s.update))
	toCand := u.mul(u.sub(u.ScalarLike(s.update, 1), s.update), u.tanhSlope(s.cand))
	rec := u.of(u.I(2), d)
	keep := perStep(s.update)
	steps, dh := u.gradAt(dy, dLast, d)
	arrived, fromH := make([]string, u.steps), make([]string, u.steps)

	// back gives what a step sends to the sums that read the state before it, and
	// the gradient of that state through them.
	var back func(t int, dh string) (sums, before string)
	if u.linearFirst() {
		toReset := u.mul(u.mul(toCand, s.inner), u.sigmoidSlope(s.reset))
		all := perStep(u.concat(2, []string{toUpdate, toReset, u.mul(toCand, s.reset)}))
		back = func(t int, dh string) (string, string) {
			sums := u.mul(u.concat(2, []string{dh, dh, dh}), all[t])
			return sums, u.matrix(sums, rec)
		}
	} else {
		recZR, recH := u.slice(rec, 0, 0, 2*u.hidden), u.slice(rec, 0, 2*u.hidden, 3*u.hidden)
		toReset := perStep(u.mul(s.prev, u.sigmoidSlope(s.reset)))
		update, cand, reset := perStep(toUpdate), perStep(toCand), perStep(s.reset)
		back = func(t int, dh string) (string, string) {
			da := u.mul(dh, cand[t])
			scaled := u.matrix(da, recH)
			zr := u.concat(2, []string{u.mul(dh, update[t]), u.mul(scaled, toReset[t])})
			return u.concat(2, []string{zr, da}), u.add(u.mul(scaled, reset[t]), u.matrix(zr, recZR))
		}
	}
	for _, t := range slices.Backward(u.order(d)) {
		if dh = u.sumOf(steps[t], dh); dh == "" {
			dh = u.zerosLike(s.h0)
		}
		var before string
		fromH[t], before = back(t, dh)
		arrived[t], dh = dh, u.add(u.mul(dh, keep[t]), before)
	}
	u.gruWeights(d, s, u.concat(0, fromH), u.mul(u.concat(0, arrived), toCand))
	u.dh0 = append(u.dh0, dh)
}

// gruWeights collects the gradients of the weights from those of the sums that
// read the states before, and of the sums that enter the candidate.
func (u *throughTime) gruWeights(d int64, s *gruStates, fromH, cand string) {
	zr := u.slice(fromH, 2, 0, 2*u.hidden)
	fromX := u.concat(2, []string{zr, cand})
	if u.linearFirst() {
		u.weights(d, fromX, s.prev, fromH)
		return
	}
	u.weights(d, fromX, s.prev, fromX)
	// The candidate's recurrent weights saw the reset state instead.
	u.dr[len(u.dr)-1] = u.unsqueeze(u.concat(0, []string{u.outer(zr, s.prev), u.outer(cand, u.mul(s.reset, s.prev))}), 0)
}
