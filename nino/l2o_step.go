package nino

import (
	"context"
	"fmt"
	"math"
	"slices"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
	ort "ninox/runtime"
)

// l2oDecays are those of the means of gradients; the second mean is Adam's.
var l2oDecays = [...]float64{0.5, 0.9, 0.99, 0.999}

const (
	l2oSecond   = 0.999 // decay of the mean of squared gradients
	l2oEpsilon  = 1e-8
	l2oFeatures = 3 + len(l2oDecays)
	adamFeature = 3    // the mean of decay 0.9
	maxFeature  = 10.0 // features are bounded by it on both sides
)

// L2O makes every step of a training by a network over the neural graph (after
// the learned optimizer of Kofinas et al. 2024). Every step visits every edge.
//
// Of every number of the parameters the network sees, bounded by ±10: the number
// by the root mean square of its tensor; the gradient and its means of decays
// 0.5, 0.9, 0.99 and 0.999, all free of bias and divided by √v, the root of the
// mean square of decay 0.999; the logarithm of √v by the root mean square of its
// tensor.
type L2O struct {
	engine  *ort.Engine
	plan    *plan
	session *ort.Session
	fixed   values // inputs that are the same in every step
	total   int    // numbers of the parameters
	steps   int
	means   [len(l2oDecays)][]float32
	second  []float32
	values  []float32 // [total, l2oFeatures]
}

// NewL2O prepares a learned optimizer for the model whose graph is g. Close it
// after use.
func NewL2O(engine *ort.Engine, w *L2OWeights, g *neuralgraph.NiNo) (*L2O, error) {
	const whole = 1 << 30 // all taps lie on one edge
	p, err := newPlan(g, whole, allEdgeTypes)
	if err != nil {
		return nil, fmt.Errorf("l2o: %w", err)
	}
	o := &L2O{engine: engine, plan: p, fixed: values{}}
	first := make([]int, len(p.parameters))
	for n, size := range p.covered {
		if p.extent[n] > int64(size) {
			return nil, fmt.Errorf("l2o: parameter %q: the neural graph places %d numbers up to number %d", p.parameters[n], size, p.extent[n])
		}
		first[n] = o.total
		o.total += size
	}
	place := make([]int64, o.total)
	p.each(func(e int, x *piece, i, j int) {
		for _, tap := range x.taps {
			place[first[x.parameter]+int(x.element(i, j)+tap)] = int64(e)
		}
	})
	index, types := p.lists()
	entering := make([]float32, p.nodes)
	for _, to := range index[len(types):] {
		entering[to]++
	}
	for i, n := range entering {
		entering[i] = float32(math.Log1p(float64(n)))
	}
	o.values = make([]float32, o.total*l2oFeatures)
	o.fixed.floats(&err, inValues, o.values, o.total, l2oFeatures)
	o.fixed.ints(&err, inPlace, place, o.total)
	o.fixed.ints(&err, inEdges, index, 2, len(types))
	o.fixed.ints(&err, inTypes, types, len(types))
	o.fixed.floats(&err, inNode, entering, p.nodes, 1)
	if err == nil {
		err = o.SetWeights(w)
	}
	if err != nil {
		o.Close()
		return nil, fmt.Errorf("l2o: %w", err)
	}
	o.Reset()
	return o, nil
}

// SetWeights replaces the network.
func (o *L2O) SetWeights(w *L2OWeights) error {
	m, err := L2OModel(w, DefaultOpset)
	if err != nil {
		return err
	}
	s, err := o.engine.NewSession(m, ort.SessionOptions{Threads: 1})
	if err != nil {
		return err
	}
	if o.session != nil {
		o.session.Close()
	}
	o.session = s
	return nil
}

// Reset forgets all gradients.
func (o *L2O) Reset() {
	o.steps, o.second = 0, make([]float32, o.total)
	for d := range o.means {
		o.means[d] = make([]float32, o.total)
	}
}

// Close frees the network.
func (o *L2O) Close() {
	o.fixed.close()
	if o.session != nil {
		o.session.Close()
	}
}

// Name is "l2o".
func (o *L2O) Name() string { return "l2o" }

// Update returns the parameters after a step: minus lr times what the network
// says.
func (o *L2O) Update(ctx context.Context, params, grads *weights.Set, lr float64) (*weights.Set, error) {
	if err := o.see(params, grads); err != nil {
		return nil, err
	}
	out, err := run(ctx, o.session, o.fixed)
	if err != nil {
		return nil, err
	}
	next, step := map[string][]float32{}, out[outStep]
	for _, name := range o.plan.parameters {
		old, _ := params.Floats(name) // see has read it
		v := make([]float32, len(old))
		for i, x := range old {
			v[i] = x - float32(lr)*step[i]
		}
		next[name], step = v, step[len(v):]
	}
	return replace(params, next), nil
}

// see takes the gradients into the means and computes the features.
func (o *L2O) see(params, grads *weights.Set) error {
	if got := len(params.Names()); got != len(o.plan.parameters) {
		return fmt.Errorf("%d parameters, the neural graph has %d", got, len(o.plan.parameters))
	}
	at := 0
	for n, name := range o.plan.parameters {
		p, err := params.Floats(name)
		if err != nil {
			return err
		}
		g, err := grads.Floats(name)
		if err != nil {
			return err
		}
		if err := o.plan.check(n, len(p)); err != nil {
			return fmt.Errorf("parameter %q: %w", name, err)
		}
		if len(g) != len(p) {
			return fmt.Errorf("parameter %q: %d numbers, %d gradients", name, len(p), len(g))
		}
		o.take(at, g)
		at += len(p)
	}
	o.steps++
	at = 0
	for _, name := range o.plan.parameters {
		p, _ := params.Floats(name)
		g, _ := grads.Floats(name)
		o.describe(at, p, g)
		at += len(p)
	}
	return nil
}

// take adds the gradients of one parameter, whose numbers start at at.
func (o *L2O) take(at int, grads []float32) {
	for d, decay := range l2oDecays {
		mean := o.means[d][at:]
		for i, g := range grads {
			mean[i] += float32(1-decay) * (g - mean[i])
		}
	}
	second := o.second[at:]
	for i, g := range grads {
		second[i] += float32(1-l2oSecond) * (g*g - second[i])
	}
}

// describe writes the features of one parameter.
func (o *L2O) describe(at int, params, grads []float32) {
	unbiased := func(decay float64) float64 { return 1 / (1 - math.Pow(decay, float64(o.steps))) }
	size, second := rms(params), unbiased(l2oSecond)
	typical := 0.0
	for _, v := range o.second[at : at+len(params)] {
		typical += float64(v) * second
	}
	typical = math.Sqrt(typical/float64(len(params))) + l2oEpsilon
	var factors [len(l2oDecays)]float64
	for d, decay := range l2oDecays {
		factors[d] = unbiased(decay)
	}
	for i, p := range params {
		row := o.values[(at+i)*l2oFeatures:][:l2oFeatures]
		root := math.Sqrt(float64(o.second[at+i])*second) + l2oEpsilon
		row[0] = bounded(float64(p) / size)
		row[1] = bounded(float64(grads[i]) / root)
		for d, f := range factors {
			row[2+d] = bounded(float64(o.means[d][at+i]) * f / root)
		}
		row[l2oFeatures-1] = bounded(math.Log(root / typical))
	}
}

func rms(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum/float64(len(v))) + l2oEpsilon
}

func bounded(x float64) float32 { return float32(max(-maxFeature, min(maxFeature, x))) }

// Arrays of the state.
const (
	l2oMean   = "l2o.mean%d"
	l2oSquare = "l2o.square"
	l2oSteps  = "l2o.steps"
)

// State is a copy of the means and the number of steps.
func (o *L2O) State() *weights.Set {
	s, dims := &weights.Set{}, []int64{int64(o.total)}
	for d, m := range o.means {
		s.AddFloats(fmt.Sprintf(l2oMean, d), dims, slices.Clone(m))
	}
	s.AddFloats(l2oSquare, dims, slices.Clone(o.second))
	s.AddFloats(l2oSteps, []int64{1}, []float32{float32(o.steps)})
	return s
}

// SetState takes it back.
func (o *L2O) SetState(s *weights.Set) error {
	read := func(name string, size int) ([]float32, error) {
		v, err := s.Floats(name)
		if err == nil && len(v) != size {
			err = fmt.Errorf("array %q has %d elements, expected %d", name, len(v), size)
		}
		if err != nil {
			return nil, fmt.Errorf("state of l2o: %w", err)
		}
		return slices.Clone(v), nil
	}
	var means [len(l2oDecays)][]float32
	for d := range means {
		m, err := read(fmt.Sprintf(l2oMean, d), o.total)
		if err != nil {
			return err
		}
		means[d] = m
	}
	second, err := read(l2oSquare, o.total)
	if err != nil {
		return err
	}
	steps, err := read(l2oSteps, 1)
	if err != nil {
		return err
	}
	o.means, o.second, o.steps = means, second, int(steps[0])
	return nil
}
