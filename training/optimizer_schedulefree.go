package training

import (
	"ninox/onnxgraph"
	"ninox/onnxgraph/weights"
)

// Schedule-Free AdamW has three sequences: z, which the optimizer moves, its
// mean x, which is the result, and y = (1−β1)·z + β1·x, where gradients are
// taken. The parameters are y; the first moment is z − y, which starts at zero
// and goes along where parameters are replaced; the second is that of Adam.
//
// With ĝ = g/(√(v/(1−β2ᵗ)) + eps) + wd·y and the weight c of z in the mean:
//
//	y ← y + c·(z−y) + lr·(β1·(1−c) − 1)·ĝ
//	z−y ← (1−c)·((z−y) − lr·β1·ĝ)

// appendScheduleFree emits the update of the authors' implementation, in which
// decay acts on y.
func (o Optimizer) appendScheduleFree(w *grower, lr, step string, ups []update) {
	_, root := o.rates(w, lr, step)
	c := o.meanShare(w, step)
	rest := w.op("Sub", []string{w.scalar(1), c})
	pull := w.op("Mul", []string{lr, w.scalar(o.Beta1)})
	move := w.op("Sub", []string{w.op("Mul", []string{pull, rest}), lr})
	for _, u := range ups {
		apart := u.moments[0]
		v := w.blend(u.newMoments[1], o.Beta2, u.moments[1], 1-o.Beta2, w.op("Mul", []string{u.grad, u.grad}))
		den := w.op("Add", []string{w.op("Div", []string{w.op("Sqrt", []string{v}), root}), w.scalar(o.Epsilon)})
		u.grad = w.op("Div", []string{u.grad, den})
		g := o.addDecay(w, u)
		toZ := w.op("Add", []string{u.param, w.op("Mul", []string{c, apart})})
		w.named(u.newParam, "Add", []string{toZ, w.op("Mul", []string{move, g})})
		w.named(u.newMoments[0], "Mul", []string{rest, w.op("Sub", []string{apart, w.op("Mul", []string{pull, g})})})
	}
}

// meanShare is the weight of step t in the mean, as a float: the square of its
// learning rate among those up to t, where rates that fall after the warm-up
// count as the highest. After W steps of warm-up the sum of the squares is
// (W+1)(2W+1)/6W of the full rate's.
func (o Optimizer) meanShare(w *grower, step string) string {
	to := func(v string, d onnxgraph.DType) string {
		return w.op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(d)))
	}
	double := func(v float64) string { return w.constant(onnxgraph.Doubles("", []int64{}, []float64{v})) }
	t := to(step, onnxgraph.Double)
	if o.Warmup < 2 {
		return to(w.op("Div", []string{double(1), t}), onnxgraph.Float)
	}
	n := float64(o.Warmup)
	after := w.op("Div", []string{double(1), w.op("Add", []string{t, double((n+1)*(2*n+1)/(6*n) - n)})})
	twice := w.op("Add", []string{w.op("Add", []string{t, t}), double(1)})
	during := w.op("Div", []string{w.op("Mul", []string{double(6), t}), w.op("Mul", []string{w.op("Add", []string{t, double(1)}), twice})})
	warm := w.op("LessOrEqual", []string{t, double(n)})
	return to(w.op("Where", []string{warm, during, after}), onnxgraph.Float)
}

// Result is what the optimizer is to leave behind: nil for the parameters
// themselves, with ScheduleFree the mean x = y + (1 − 1/β1)·(z−y).
func (e *Executor) Result() (*weights.Set, error) {
	if e.art.Config.Kind != ScheduleFree {
		return nil, nil
	}
	if err := e.state.read(); err != nil {
		return nil, err
	}
	out := &weights.Set{}
	share := 1 - 1/e.art.Config.Beta1
	for _, p := range e.art.Params {
		y, apart := e.state.view(p.Name), e.state.view(momentum(p.Name, 0))
		x := make([]float32, len(y))
		for i := range x {
			x[i] = float32(float64(y[i]) + share*float64(apart[i]))
		}
		out.AddFloats(p.Name, p.Dims, x)
	}
	return out, nil
}
