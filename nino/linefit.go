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
type Linear struct {
	name    string
	context int
	recent  bool // the later the state, the more it weighs
}

// DefaultContext is the number of past states in the paper.
const DefaultContext = 5

// Linefit is the baseline with the context of the paper's networks.
func Linefit() *Linear { return &Linear{"linefit", DefaultContext, false} }

// LinefitPlus weighs the error at the t-th state by t, so that the line follows
// the recent course. (The paper says as much; its equation is not at hand.)
func LinefitPlus() *Linear { return &Linear{"linefit+", DefaultContext, true} }

// Over is the same line through another number of states, at least two.
func (l *Linear) Over(states int) *Linear {
	out := *l
	out.context = max(2, states)
	return &out
}

// Name is "linefit" or "linefit+".
func (l *Linear) Name() string { return l.name }

// Context is the number of states that Nowcast wants.
func (l *Linear) Context() int { return l.context }

// Nowcast extends the line by k intervals beyond the newest of the states,
// which come at equal intervals, oldest first. Arrays that are not float32 are
// copied from the newest state.
func (l *Linear) Nowcast(ctx context.Context, states []*weights.Set, k int) (*weights.Set, error) {
	if len(states) != l.context {
		return nil, fmt.Errorf("%s: %d states, expected %d", l.name, len(states), l.context)
	}
	if k < 1 {
		return nil, fmt.Errorf("%s: horizon %d, expected 1 or more", l.name, k)
	}
	factors := lineFactors(len(states), k, l.recent)
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
			return nil, fmt.Errorf("%s: parameter %q: %w", l.name, name, err)
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

// lineFactors are the shares of n equally spaced values in the value of their
// least squares line k intervals after the last. With recent, the square of the
// t-th error counts t times.
func lineFactors(n, k int, recent bool) []float64 {
	weight := func(t int) float64 {
		if recent {
			return float64(t + 1)
		}
		return 1
	}
	total, middle, squares := 0.0, 0.0, 0.0
	for t := range n {
		total += weight(t)
		middle += weight(t) * float64(t)
	}
	middle /= total
	for t := range n {
		squares += weight(t) * (float64(t) - middle) * (float64(t) - middle)
	}
	at := float64(n-1+k) - middle
	out := make([]float64, n)
	for t := range out {
		out[t] = weight(t) * (1/total + (float64(t)-middle)*at/squares)
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
