package nino

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ninox/onnxgraph/weights"
)

// trajectory is the parameters of a plan in their past states, with their
// scales, and the prediction as it fills.
type trajectory struct {
	context int
	states  [][]column // by parameter, then by state, oldest first
	scales  []*scaler  // by parameter
	result  []column   // by parameter
}

// newTrajectory checks that the states have all parameters of the plan, in
// equal shapes, and computes the scales. The prediction goes to the arrays of
// into. Every fault is reported.
func newTrajectory(ctx context.Context, p *plan, method Scaling, states []Arrays, into Arrays, workers int) (*trajectory, error) {
	tr := &trajectory{context: len(states)}
	var errs []error
	for n, name := range p.parameters {
		past, result, err := columnsOf(name, states, into)
		if err == nil {
			err = p.check(n, past[0].len())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("parameter %q: %w", name, err))
			continue
		}
		tr.states = append(tr.states, past)
		tr.result = append(tr.result, result)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, past := range tr.states {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tr.scales = append(tr.scales, newScaler(method, past, workers))
	}
	return tr, nil
}

// columnsOf is one parameter in every state, and where its prediction goes.
func columnsOf(name string, states []Arrays, into Arrays) (past []column, result column, err error) {
	for t, s := range append(slices.Clone(states), into) {
		at := fmt.Sprintf("state %d", t)
		if t == len(states) {
			at = "result"
		}
		c, err := columnOf(s.Tensor(name), name)
		if err != nil {
			return nil, c, fmt.Errorf("%s: %w", at, err)
		}
		if d, d0 := s.Tensor(name).Dims, states[0].Tensor(name).Dims; !slices.Equal(d, d0) {
			return nil, c, fmt.Errorf("%s has shape %v, state 0 has %v", at, d, d0)
		}
		past, result = append(past, c), c
	}
	return past[:len(states)], result, nil
}

// arraysOf are states in memory.
func arraysOf(states []*weights.Set) []Arrays {
	var out []Arrays
	for _, s := range states {
		out = append(out, s)
	}
	return out
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
	if x.diagonal {
		i = 0
	}
	tr.block(x, i, i+1, j, j+1, dst)
}

// block writes the features of the edges from sources s0 to s1 to targets t0 to
// t1, [sources, targets, columns]; of a diagonal piece those of edges t0 to t1,
// with s0 and s1 for one row.
func (tr *trajectory) block(x *piece, s0, s1, t0, t1 int, dst []float32) {
	rows, columns := s1-s0, t1-t0
	width := len(dst) / (rows * columns)
	if x.parameter < 0 {
		for e := 0; e < len(dst); e += width {
			for t := range tr.context {
				dst[e+t] = x.constant
			}
		}
		return
	}
	// Runs go along the longer side.
	outer, inner := rows, columns
	outerStep, innerStep := columns*width, width
	outerStride, innerStride := x.bySource, x.byTarget
	if rows > columns {
		outer, inner = inner, outer
		outerStep, innerStep = innerStep, outerStep
		outerStride, innerStride = innerStride, outerStride
	}
	first := x.element(s0, t0)
	if x.diagonal {
		first, innerStride = x.element(t0, t0), x.bySource+x.byTarget
	}
	past := tr.states[x.parameter]
	for o := range outer {
		for f, tap := range x.taps {
			at := first + int64(o)*outerStride + tap
			for t, c := range past {
				c.read(dst[o*outerStep+f*tr.context+t:], innerStep, at, innerStride, inner)
			}
		}
	}
	tr.scale(x, dst, width)
}

// scale scales the features of edges of a piece, width numbers each.
func (tr *trajectory) scale(x *piece, dst []float32, width int) {
	used := len(x.taps) * tr.context
	sc := tr.scales[x.parameter]
	if sc.states == nil && used == width {
		sc.all.applyAll(dst)
		return
	}
	for e := 0; e < len(dst); e += width {
		for f := 0; f < used; f += tr.context {
			past := dst[e+f : e+f+tr.context]
			sc.of(past).applyAll(past)
		}
	}
}

// store takes the prediction for the taps of an edge.
func (tr *trajectory) store(x *piece, i, j int, pred []float32) {
	first := x.element(i, j)
	sc, out := tr.scales[x.parameter], tr.result[x.parameter]
	for f, tap := range x.taps {
		out.set(first+tap, sc.at(first+tap).invert(pred[f]))
	}
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
