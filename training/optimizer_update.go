package training

import (
	"slices"

	"ninox/onnxgraph"
)

// update is one parameter (or several in one vector) in an optimizer graph.
type update struct {
	dims        []int64
	group       Group
	param, grad string
	moments     []string // as many as Optimizer.moments
	newParam    string   // names to give to the results
	newMoments  []string
}

// appendUpdates emits the update of all parameters. lr is a float and step an
// int64 value of one element each; step counts from 1.
func (o Optimizer) appendUpdates(w *grower, lr, step string, ups []update) {
	if o.SkipNonFinite {
		defer keepOld(w, ups)()
	}
	if o.ClipNorm > 0 {
		o.clip(w, ups)
	}
	switch o.Kind {
	case SGD:
		o.appendSGD(w, lr, step, ups)
	case Lion:
		o.appendLion(w, lr, ups)
	case Muon:
		o.appendMuon(w, lr, step, ups)
	case ScheduleFree:
		o.appendScheduleFree(w, lr, step, ups)
	default:
		o.appendAdam(w, lr, step, ups)
	}
}

// keepOld makes updates go to other names, and returns a function that emits
// the results: the updates where all gradients are finite, else the old values.
func keepOld(w *grower, ups []update) func() {
	grads := make([]string, len(ups))
	type result struct{ name, updated, old string }
	var results []result
	divert := func(name *string, old string) {
		updated := w.fresh("updated")
		results = append(results, result{*name, updated, old})
		*name = updated
	}
	for i := range ups {
		u := &ups[i]
		grads[i] = u.grad
		divert(&u.newParam, u.param)
		u.newMoments = slices.Clone(u.newMoments)
		for k := range u.newMoments {
			divert(&u.newMoments[k], u.moments[k])
		}
	}
	return func() {
		finite := allFinite(w, grads)
		for _, r := range results {
			w.named(r.name, "Where", []string{finite, r.updated, r.old})
		}
	}
}

// clip replaces the gradients by scaled ones.
func (o Optimizer) clip(w *grower, ups []update) {
	squares := make([]string, len(ups))
	keep := onnxgraph.IntAttr("keepdims", 0)
	for i, u := range ups {
		squares[i] = w.op("ReduceSumSquare", []string{u.grad}, keep)
	}
	total := squares[0]
	if len(squares) > 1 {
		total = w.op("Sum", squares)
	}
	norm := w.op("Add", []string{w.op("Sqrt", []string{total}), w.scalar(1e-6)})
	factor := w.op("Min", []string{w.op("Div", []string{w.scalar(o.ClipNorm), norm}), w.scalar(1)})
	for i := range ups {
		ups[i].grad = w.op("Mul", []string{ups[i].grad, factor})
	}
}

// addDecay adds L2 weight decay to a gradient.
func (o Optimizer) addDecay(w *grower, u update) string {
	if o.decay(u.group) == 0 {
		return u.grad
	}
	return w.op("Add", []string{u.grad, w.op("Mul", []string{u.param, w.scalar(o.WeightDecay)})})
}

// shrink is a parameter times 1 − lr·wd, the parameter itself without decay.
func (o Optimizer) shrink(w *grower, lr string, u update, param string) string {
	if o.decay(u.group) == 0 {
		return param
	}
	keep := w.op("Sub", []string{w.scalar(1), w.op("Mul", []string{lr, w.scalar(o.WeightDecay)})})
	return w.op("Mul", []string{param, keep})
}

// blend names a·x + b·y.
func (w *grower) blend(name string, a float64, x string, b float64, y string) string {
	return w.named(name, "Add", []string{w.op("Mul", []string{x, w.scalar(a)}), w.op("Mul", []string{y, w.scalar(b)})})
}

// appendSGD follows PyTorch: the momentum starts with the whole first gradient,
// whatever the dampening is.
func (o Optimizer) appendSGD(w *grower, lr, step string, ups []update) {
	var weight string // of gradients in the momentum
	if o.Dampening > 0 {
		first := w.op("Equal", []string{step, w.constant(onnxgraph.Int64s("first", []int64{}, []int64{1}))})
		weight = w.op("Where", []string{first, w.scalar(1), w.scalar(1 - o.Dampening)})
	}
	for _, u := range ups {
		g := o.addDecay(w, u)
		if o.Momentum > 0 {
			added := g
			if weight != "" {
				added = w.op("Mul", []string{g, weight})
			}
			m := w.named(u.newMoments[0], "Add", []string{w.op("Mul", []string{u.moments[0], w.scalar(o.Momentum)}), added})
			if o.Nesterov {
				m = w.op("Add", []string{g, w.op("Mul", []string{m, w.scalar(o.Momentum)})})
			}
			g = m
		}
		w.named(u.newParam, "Sub", []string{u.param, w.op("Mul", []string{g, lr})})
	}
}

// appendLion steps by the sign of β1·m + (1−β1)·g; the mean m decays by β2.
func (o Optimizer) appendLion(w *grower, lr string, ups []update) {
	for _, u := range ups {
		m := u.moments[0]
		ahead := w.blend(w.fresh("Add"), o.Beta1, m, 1-o.Beta1, u.grad)
		w.blend(u.newMoments[0], o.Beta2, m, 1-o.Beta2, u.grad)
		delta := w.op("Mul", []string{w.op("Sign", []string{ahead}), lr})
		w.named(u.newParam, "Sub", []string{o.shrink(w, lr, u, u.param), delta})
	}
}

func (o Optimizer) appendAdam(w *grower, lr, step string, ups []update) {
	if len(ups) == 0 {
		return
	}
	rate, root := o.rates(w, lr, step)
	eps := w.scalar(o.Epsilon)
	for _, u := range ups {
		g, p := u.grad, u.param
		if o.Kind == Adam {
			g = o.addDecay(w, u)
		}
		m := w.blend(u.newMoments[0], o.Beta1, u.moments[0], 1-o.Beta1, g)
		v := w.blend(u.newMoments[1], o.Beta2, u.moments[1], 1-o.Beta2, w.op("Mul", []string{g, g}))
		den := w.op("Sqrt", []string{v})
		if root != "" {
			den = w.op("Div", []string{den, root})
		}
		den = w.op("Add", []string{den, eps})
		delta := w.op("Mul", []string{w.op("Div", []string{m, den}), rate})
		switch {
		case o.Kind == Adam || o.decay(u.group) == 0:
			w.named(u.newParam, "Sub", []string{p, delta})
		case o.Convention == PyTorch:
			w.named(u.newParam, "Sub", []string{o.shrink(w, lr, u, p), delta})
		default:
			w.named(u.newParam, "Identity", []string{o.shrink(w, lr, u, w.op("Sub", []string{p, delta}))})
		}
	}
}

// rates emits the bias-corrected step size and, where the convention divides
// √v by it, √(1−β2ᵗ) ("" else). They are computed in double: at the first
// steps 1−β2ᵗ is near 0.001, where float would lose four digits.
func (o Optimizer) rates(w *grower, lr, step string) (rate, root string) {
	if o.NoBiasCorrection {
		return lr, ""
	}
	to := func(v string, d onnxgraph.DType) string {
		return w.op("Cast", []string{v}, onnxgraph.IntAttr("to", int64(d)))
	}
	double := func(v float64) string { return w.constant(onnxgraph.Doubles("", []int64{}, []float64{v})) }
	t := to(step, onnxgraph.Double)
	correction := func(beta float64) string {
		return w.op("Sub", []string{double(1), w.op("Pow", []string{double(beta), t})})
	}
	c1, c2 := correction(o.Beta1), w.op("Sqrt", []string{correction(o.Beta2)})
	scaled := w.op("Div", []string{to(lr, onnxgraph.Double), c1})
	if o.Convention == ORT {
		return to(w.op("Mul", []string{scaled, c2}), onnxgraph.Float), ""
	}
	return to(scaled, onnxgraph.Float), to(c2, onnxgraph.Float)
}
