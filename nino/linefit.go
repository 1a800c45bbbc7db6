package nino

import (
	"context"
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"ninox/onnxgraph/weights"
)

// Linear is the baseline Linefit: a least squares line through the past values
// of each number, extended.
type Linear struct{ context int }

// linefitContext is the number of states of the paper's baselines.
const linefitContext = 5

// Linefit is the baseline with the context of the paper's networks, five
// states.
func Linefit() *Linear { return &Linear{linefitContext} }

// Name is "linefit".
func (l *Linear) Name() string { return "linefit" }

// Context is the number of states that Nowcast wants.
func (l *Linear) Context() int { return l.context }

// Nowcast extends the line by k intervals beyond the newest of the states,
// which come at equal intervals, oldest first. Arrays that are not float32 are
// copied from the newest state.
func (l *Linear) Nowcast(ctx context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	if len(states) != l.context {
		return nil, fmt.Errorf("linefit: %d states, expected %d", len(states), l.context)
	}
	if k < 1 {
		return nil, fmt.Errorf("linefit: horizon %d, expected 1 or more", k)
	}
	factors := lineFactors(len(states), k)
	newest := states[len(states)-1]
	predicted := map[string][]float32{}
	for _, name := range newest.Names() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if newest.Get(name).Dtype() != tensor.Float32 {
			continue
		}
		values, err := history(name, states)
		if err != nil {
			return nil, fmt.Errorf("linefit: parameter %q: %w", name, err)
		}
		out := make([]float32, len(values[0]))
		for i := range out {
			sum := 0.0
			for t, f := range factors {
				sum += f * float64(values[t][i])
			}
			out[i] = float32(sum)
		}
		predicted[name] = out
	}
	return replace(newest, predicted), nil
}

// lineFactors are the weights of n equally spaced values in the value of their
// least squares line k intervals after the last.
func lineFactors(n, k int) []float64 {
	middle := float64(n-1) / 2
	squares := 0.0
	for t := range n {
		squares += (float64(t) - middle) * (float64(t) - middle)
	}
	at := float64(n-1+k) - middle
	out := make([]float64, n)
	for t := range out {
		out[t] = 1/float64(n) + (float64(t)-middle)*at/squares
	}
	return out
}

// clone copies an array.
func clone(d *tensor.Dense) *tensor.Dense {
	switch v := d.Data().(type) {
	case []float32:
		return weights.DenseFloats(weights.Dims(d), slices.Clone(v))
	case []int64:
		return weights.DenseInt64s(weights.Dims(d), slices.Clone(v))
	}
	return d.Clone().(*tensor.Dense)
}
