package ops

import (
	"slices"

	"ninox/onnxgraph"
)

// maxUnroll is the longest sequence that a lowering writes out step by step.
const maxUnroll = 512

// unrolled is a recurrent layer written out over its time steps.
type unrolled struct {
	lowCalc
	gates, hidden, steps int64
	dirs                 int64
	x                    string   // [T,B,I]
	live                 []string // by time step, which samples have it [1,B,1]; nil where all do
	activations          []string
	clip                 float64 // 0 for none
}

// unroll checks that the layer can be written out, and prepares its input.
// defaults are the activations of one direction; seq is the index of the
// input of sequence lengths.
func unroll(k lowCalc, gates int64, defaults []string, seq int) (*unrolled, error) {
	n := k.Node()
	u := &unrolled{lowCalc: k, gates: gates, x: k.I(0), dirs: directions(n), clip: float64(n.Float("clip", 0))}
	if n.Int("layout", 0) == 1 {
		u.x = k.transpose(u.x, 1, 0, 2)
	}
	s, r := k.Fact(u.x).Shape(), k.Fact(k.I(2)).Shape()
	if len(s) != 3 || !s[0].IsKnown() || len(r) != 3 || !r[2].IsKnown() {
		return nil, k.Errorf("input of shape %s and recurrent weights of shape %s: the layer is written out step by step, so the number of steps and of units must be known", s, r)
	}
	u.steps, u.hidden = s[0].Value, r[2].Value
	if u.steps < 1 || u.steps > maxUnroll {
		return nil, k.Errorf("%d time steps; the layer is written out step by step, which is done for 1 to %d", u.steps, maxUnroll)
	}
	if err := u.mark(k.I(seq)); err != nil {
		return nil, err
	}
	for range u.dirs {
		u.activations = append(u.activations, defaults...)
	}
	if a := n.Attr("activations"); a != nil {
		if len(a.Strings) != len(u.activations) {
			return nil, k.Errorf("%d activations, expected %d", len(a.Strings), len(u.activations))
		}
		for i, s := range a.Strings {
			u.activations[i] = string(s)
		}
	}
	for _, name := range u.activations {
		if !slices.Contains([]string{"Sigmoid", "Tanh", "Relu"}, name) {
			return nil, k.Errorf("activation %q, expected Sigmoid, Tanh or Relu", name)
		}
	}
	return u, nil
}

// mark reads the lengths of the sequences, unless all are known to be full.
func (u *unrolled) mark(lengths string) error {
	if lengths == "" {
		return nil
	}
	v, ok := u.Fact(lengths).Ints()
	if ok && !slices.ContainsFunc(v, func(l int64) bool { return l != u.steps }) {
		return nil
	}
	if u.Node().Domain != "" {
		return u.Errorf("sequence lengths are given, expected none or a constant of the full length")
	}
	ends := u.reshape(u.cast(lengths, onnxgraph.Int64), 1, -1, 1)
	for t := range u.steps {
		u.live = append(u.live, u.two("Greater", ends, u.int(t)))
	}
	return nil
}

// carried is a state after step t: samples that have ended, or in reverse have
// not begun, keep theirs.
func (u *unrolled) carried(t int, after, before string) string {
	if u.live == nil {
		return after
	}
	return u.where(u.live[t], after, before)
}

// shown is what step t gives to the outside: zeros for samples that have ended.
func (u *unrolled) shown(t int, h string) string {
	if u.live == nil {
		return h
	}
	return u.where(u.live[t], h, u.ScalarLike(h, 0))
}

// activate applies activation i of direction d to the sum that enters a gate.
func (u *unrolled) activate(d int64, i int, x string) string {
	if u.clip > 0 {
		x = u.Emit("Clip", []string{x, u.ScalarLike(x, -u.clip), u.ScalarLike(x, u.clip)})
	}
	return u.activation(d, i, x)
}

func (u *unrolled) activation(d int64, i int, x string) string {
	per := len(u.activations) / int(u.dirs)
	return u.one(u.activations[int(d)*per+i], x)
}

// of is the part of an input that belongs to direction d, without that axis.
func (u *unrolled) of(input string, d int64) string {
	return u.squeeze(u.slice(input, 0, d, d+1), 0)
}

// order lists the time steps as direction d takes them.
func (u *unrolled) order(d int64) []int {
	out := make([]int, u.steps)
	for i := range out {
		out[i] = i
		if u.reversed(d) {
			out[i] = len(out) - 1 - i
		}
	}
	return out
}

// reversed says whether direction d takes the steps from the last on.
func (u *unrolled) reversed(d int64) bool {
	return d == 1 || u.Node().Str("direction", "forward") == "reverse"
}

// initial is the state [1,B,H] before the first step: input i, or zeros.
func (u *unrolled) initial(input string, d int64) string {
	if input != "" {
		if u.Node().Int("layout", 0) == 1 {
			input = u.transpose(input, 1, 0, 2)
		}
		return u.slice(input, 0, d, d+1)
	}
	shape := u.Emit("Concat", []string{u.vector(1), u.dimOf(u.x, 1), u.vector(u.hidden)}, onnxgraph.IntAttr("axis", 0))
	return u.zeros(shape, u.Fact(u.x).DType())
}

// halves are the input and the recurrent bias of direction d, "" for none.
func (u *unrolled) halves(d int64) (wb, rb string) {
	if u.I(3) == "" {
		return "", ""
	}
	b := u.of(u.I(3), d)
	n := u.gates * u.hidden
	return u.slice(b, 0, 0, n), u.slice(b, 0, n, 2*n)
}

// split cuts x into n equal parts.
func (u *unrolled) split(x string, axis int64, part, n int64) []string {
	if n == 1 {
		return []string{x}
	}
	sizes := make([]int64, n)
	for i := range sizes {
		sizes[i] = part
	}
	return u.EmitN("Split", []string{x, u.vector(sizes...)}, int(n), onnxgraph.IntAttr("axis", axis))
}

func (u *unrolled) matrix(x, w string) string { return u.two("MatMul", x, w) }

// transposed is W or R of direction d as [columns, G·H].
func (u *unrolled) transposed(input string, d int64) string {
	return u.transpose(u.of(input, d), 1, 0)
}

func (u *unrolled) plus(x, bias string) string {
	if bias == "" {
		return x
	}
	return u.add(x, bias)
}

func (u *unrolled) concat(axis int64, parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	return u.Emit("Concat", parts, onnxgraph.IntAttr("axis", axis))
}

// projected is X·Wᵀ + bias of all time steps, cut into steps of [1,B,G·H].
func (u *unrolled) projected(d int64, bias string) []string {
	return u.split(u.plus(u.matrix(u.x, u.transposed(u.I(1), d)), bias), 0, 1, u.steps)
}

// sequence joins the steps of each direction to [T,D,B,·]; with layout 1 to
// [B,T,D,·].
func (u *unrolled) sequence(perDirection [][]string) string {
	var dirs []string
	for _, steps := range perDirection {
		dirs = append(dirs, u.unsqueeze(u.concat(0, steps), 1))
	}
	y := u.concat(1, dirs)
	if u.Node().Int("layout", 0) == 1 {
		y = u.transpose(y, 2, 0, 1, 3)
	}
	return y
}

// last joins the final states of the directions to [D,B,H].
func (u *unrolled) last(states []string) string {
	y := u.concat(0, states)
	if u.Node().Int("layout", 0) == 1 {
		y = u.transpose(y, 1, 0, 2)
	}
	return y
}

// history holds, by direction, what the steps produced, in the order of time.
type history struct {
	h, c, gates [][]string
	hT, cT      []string // final states
}

// set gives the standard outputs.
func (u *unrolled) set(r *history) {
	if u.HasO(0) {
		u.SetO(0, u.sequence(r.h))
	}
	if u.HasO(1) {
		u.SetO(1, u.last(r.hT))
	}
}

func lowerRNN(k lowCalc) error {
	u, err := unroll(k, 1, []string{"Tanh"}, 4)
	if err != nil {
		return err
	}
	r := &history{}
	for d := range u.dirs {
		wb, rb := u.halves(d)
		if rb != "" {
			wb = u.add(wb, rb)
		}
		x, rec := u.projected(d, wb), u.transposed(u.I(2), d)
		h := u.initial(u.I(5), d)
		hs := make([]string, u.steps)
		for _, t := range u.order(d) {
			h = u.carried(t, u.activate(d, 0, u.add(x[t], u.matrix(h, rec))), h)
			hs[t] = u.shown(t, h)
		}
		r.h, r.hT = append(r.h, hs), append(r.hT, h)
	}
	u.set(r)
	return nil
}

func lowerGRU(k lowCalc) error {
	u, r, err := unrollGRU(k)
	if err != nil {
		return err
	}
	u.set(r)
	return nil
}

func lowerLSTM(k lowCalc) error {
	u, r, err := unrollLSTM(k)
	if err != nil {
		return err
	}
	u.set(r)
	if u.HasO(2) {
		u.SetO(2, u.last(r.cT))
	}
	return nil
}

// unrollLSTM: gates i, o, f, c.
func unrollLSTM(k lowCalc) (*unrolled, *history, error) {
	u, err := unroll(k, 4, []string{"Sigmoid", "Tanh", "Tanh"}, 4)
	if err != nil {
		return nil, nil, err
	}
	if k.Node().Int("input_forget", 0) != 0 {
		return nil, nil, k.Errorf("input_forget couples two gates, which is not written out")
	}
	r := &history{}
	for d := range u.dirs {
		u.lstmDirection(d, r)
	}
	return u, r, nil
}

func (u *unrolled) lstmDirection(d int64, r *history) {
	wb, rb := u.halves(d)
	if rb != "" {
		wb = u.add(wb, rb)
	}
	x, rec := u.projected(d, wb), u.transposed(u.I(2), d)
	h, c := u.initial(u.I(5), d), u.initial(u.I(6), d)
	peep := []string{"", "", ""} // of i, o, f
	if u.I(7) != "" {
		peep = u.split(u.of(u.I(7), d), 0, u.hidden, 3)
	}
	look := func(gate, state, weights string) string {
		if weights == "" {
			return gate
		}
		return u.add(gate, u.mul(state, weights))
	}
	hs, cs, gs := make([]string, u.steps), make([]string, u.steps), make([]string, u.steps)
	for _, t := range u.order(d) {
		pre := u.split(u.add(x[t], u.matrix(h, rec)), -1, u.hidden, 4)
		i := u.activate(d, 0, look(pre[0], c, peep[0]))
		f := u.activate(d, 0, look(pre[2], c, peep[2]))
		g := u.activate(d, 1, pre[3])
		cell := u.add(u.mul(f, c), u.mul(i, g))
		o := u.activate(d, 0, look(pre[1], cell, peep[1]))
		h = u.carried(t, u.mul(o, u.activation(d, 2, cell)), h)
		c = u.carried(t, cell, c)
		hs[t], cs[t] = u.shown(t, h), c
		gs[t] = u.Emit("Concat", []string{i, o, f, g}, onnxgraph.IntAttr("axis", -1))
	}
	r.h, r.c, r.gates = append(r.h, hs), append(r.c, cs), append(r.gates, gs)
	r.hT, r.cT = append(r.hT, h), append(r.cT, c)
}

// unrollGRU: gates z, r, h.
func unrollGRU(k lowCalc) (*unrolled, *history, error) {
	u, err := unroll(k, 3, []string{"Sigmoid", "Tanh"}, 4)
	if err != nil {
		return nil, nil, err
	}
	r := &history{}
	for d := range u.dirs {
		u.gruDirection(d, r)
	}
	return u, r, nil
}

func (u *unrolled) gruDirection(d int64, r *history) {
	linearFirst := u.Node().Int("linear_before_reset", 0) != 0
	wb, rb := u.halves(d)
	inner := "" // recurrent bias of the candidate, which the reset gate scales
	if rb != "" {
		parts := u.split(rb, 0, u.hidden, 3)
		if linearFirst {
			inner = parts[2]
			parts[2] = u.zerosLike(parts[2])
		}
		wb = u.add(wb, u.concat(0, parts))
	}
	x := u.projected(d, wb)
	rec := u.transposed(u.I(2), d)
	recZR, recH := u.slice(rec, 1, 0, 2*u.hidden), u.slice(rec, 1, 2*u.hidden, 3*u.hidden)
	h := u.initial(u.I(5), d)
	hs, gs := make([]string, u.steps), make([]string, u.steps)
	for _, t := range u.order(d) {
		in := u.split(x[t], -1, u.hidden, 3)
		zr := u.split(u.matrix(h, recZR), -1, u.hidden, 2)
		z := u.activate(d, 0, u.add(in[0], zr[0]))
		reset := u.activate(d, 0, u.add(in[1], zr[1]))
		var rec string
		if linearFirst {
			rec = u.mul(reset, u.plus(u.matrix(h, recH), inner))
		} else {
			rec = u.matrix(u.mul(reset, h), recH)
		}
		candidate := u.activate(d, 1, u.add(in[2], rec))
		h = u.carried(t, u.add(candidate, u.mul(z, u.sub(h, candidate))), h)
		hs[t] = u.shown(t, h)
		gs[t] = u.Emit("Concat", []string{z, reset, candidate}, onnxgraph.IntAttr("axis", -1))
	}
	r.h, r.gates, r.hT = append(r.h, hs), append(r.gates, gs), append(r.hT, h)
}
