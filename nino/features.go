package nino

import (
	"errors"
	"fmt"
	"slices"

	"ninox/onnxgraph/weights"
)

// trajectory is the parameters of a plan in their past states, with their
// scales, and the prediction as it fills.
type trajectory struct {
	context int
	states  [][][]float32 // by parameter, then by state, oldest first
	scales  []*scaler     // by parameter
	result  [][]float32   // by parameter
}

// newTrajectory checks that the states have all parameters of the plan, in
// equal shapes, and computes the scales. Every fault is reported.
func newTrajectory(p *plan, method Scaling, states []*weights.Set) (*trajectory, error) {
	tr := &trajectory{context: len(states)}
	var errs []error
	for n, name := range p.parameters {
		values, err := history(name, states)
		if err == nil {
			err = p.check(n, len(values[0]))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("parameter %q: %w", name, err))
			continue
		}
		tr.states = append(tr.states, values)
		tr.result = append(tr.result, make([]float32, len(values[0])))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, v := range tr.states {
		tr.scales = append(tr.scales, newScaler(method, v))
	}
	return tr, nil
}

// history is one parameter in every state.
func history(name string, states []*weights.Set) ([][]float32, error) {
	var out [][]float32
	for t, s := range states {
		v, err := s.Floats(name)
		if err != nil {
			return nil, fmt.Errorf("state %d: %w", t, err)
		}
		if d, d0 := s.Get(name).Shape(), states[0].Get(name).Shape(); !slices.Equal(d, d0) {
			return nil, fmt.Errorf("state %d has shape %v, state 0 has %v", t, d, d0)
		}
		out = append(out, v)
	}
	return out, nil
}

// features writes the scaled states of the edge from source i to target j into
// dst: number f·context + t is tap f at state t. Columns beyond the taps are
// left as they are (zero).
func (tr *trajectory) features(x *piece, i, j int, dst []float32) {
	if x.parameter < 0 {
		for t := range tr.context {
			dst[t] = x.constant
		}
		return
	}
	first := x.element(i, j)
	states, sc := tr.states[x.parameter], tr.scales[x.parameter]
	for f, tap := range x.taps {
		at := first + tap
		s := sc.at(int(at))
		for t, v := range states {
			dst[f*tr.context+t] = s.apply(v[at])
		}
	}
}

// store takes the prediction for the taps of an edge.
func (tr *trajectory) store(x *piece, i, j int, pred []float32) {
	first := x.element(i, j)
	sc, out := tr.scales[x.parameter], tr.result[x.parameter]
	for f, tap := range x.taps {
		out[first+tap] = sc.at(int(first + tap)).invert(pred[f])
	}
}

// set is the newest state with the predicted parameters in place of its own.
func (tr *trajectory) set(p *plan, newest *weights.Set) *weights.Set {
	predicted := map[string][]float32{}
	for n, name := range p.parameters {
		predicted[name] = tr.result[n]
	}
	return replace(newest, predicted)
}

// replace copies a state, with other values for the given parameters.
func replace(newest *weights.Set, values map[string][]float32) *weights.Set {
	out := &weights.Set{}
	for _, name := range newest.Names() {
		d := newest.Get(name)
		if v, ok := values[name]; ok {
			out.AddFloats(name, weights.Dims(d), v)
		} else {
			out.Add(name, clone(d))
		}
	}
	return out
}
