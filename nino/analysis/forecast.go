package analysis

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"ninox/neuralgraph"
	"ninox/onnxgraph/weights"
)

// Forecaster predicts parameters k intervals after the newest of Context states.
type Forecaster interface {
	Name() string
	Context() int
	Nowcast(ctx context.Context, states []*weights.Set, k int) (*weights.Set, error)
}

// Unchanged is the forecast that nothing changes.
type Unchanged struct{}

// Name is "no change".
func (Unchanged) Name() string { return "no change" }

// Context is the number of states that the other forecasts want, so that all
// are judged by the same windows.
func (Unchanged) Context() int { return 5 }

// Nowcast is the newest state.
func (Unchanged) Nowcast(_ context.Context, states []*weights.Set, _ int) (*weights.Set, error) {
	return states[len(states)-1], nil
}

// Errors is the mean error of a forecast of one type of layer.
type Errors struct {
	Forecast string
	Type     neuralgraph.EdgeType
	Horizons []int     // in intervals between states
	Mean     []float64 // mean absolute error, in standard deviations of the parameter in the newest state
}

// windowsAt is the most windows that forecasts at one horizon are judged by.
const windowsAt = 6

// ForecastErrors judges forecasts by a trajectory of states at equal intervals:
// at every horizon, by windows spread evenly over those that the trajectory is
// long enough for. types says what layer a parameter belongs to.
func ForecastErrors(ctx context.Context, forecasts []Forecaster, states []*weights.Set, horizons []int, types map[string]neuralgraph.EdgeType) ([]Errors, error) {
	var out []Errors
	for _, f := range forecasts {
		sums := map[neuralgraph.EdgeType]*Errors{}
		for _, k := range horizons {
			last := len(states) - f.Context() - k // start of the last window
			if last < 0 {
				continue
			}
			type total struct {
				sum float64
				n   int
			}
			totals := map[neuralgraph.EdgeType]total{}
			for w := range min(windowsAt, last+1) {
				start := 0
				if last > 0 {
					start = w * last / max(1, min(windowsAt, last+1)-1)
				}
				window := states[start : start+f.Context()]
				got, err := f.Nowcast(ctx, window, k)
				if err != nil {
					return nil, fmt.Errorf("forecast %s at horizon %d: %w", f.Name(), k, err)
				}
				truth, newest := states[start+f.Context()-1+k], window[len(window)-1]
				for name, kind := range types {
					v, n, err := scaledError(name, got, truth, newest)
					if err != nil {
						return nil, fmt.Errorf("forecast %s: %w", f.Name(), err)
					}
					t := totals[kind]
					totals[kind] = total{t.sum + v, t.n + n}
				}
			}
			for kind, t := range totals {
				if t.n == 0 {
					continue
				}
				if sums[kind] == nil {
					sums[kind] = &Errors{Forecast: f.Name(), Type: kind}
				}
				e := sums[kind]
				e.Horizons, e.Mean = append(e.Horizons, k), append(e.Mean, t.sum/float64(t.n))
			}
		}
		for _, e := range sums {
			out = append(out, *e)
		}
	}
	slices.SortStableFunc(out, func(a, b Errors) int { return int(a.Type) - int(b.Type) })
	return out, nil
}

// scaledError is the sum of absolute errors of a parameter over its deviation,
// and their number; 0 of a parameter whose numbers are all alike.
func scaledError(name string, got, truth, newest *weights.Set) (sum float64, n int, err error) {
	values := make([][]float32, 3)
	for i, s := range []*weights.Set{got, truth, newest} {
		if values[i], err = s.Floats(name); err != nil {
			return 0, 0, err
		}
	}
	wide := make([]float64, len(values[2]))
	for i, v := range values[2] {
		wide[i] = float64(v)
	}
	deviation := stat.PopStdDev(wide, nil)
	if !(deviation > 0) {
		return 0, 0, nil
	}
	for i, v := range values[0] {
		sum += math.Abs(float64(v)-float64(values[1][i])) / deviation
	}
	return sum, len(wide), nil
}

// TypesOf says for each parameter of a graph what type of layer it belongs to.
func TypesOf(g *neuralgraph.NiNo) map[string]neuralgraph.EdgeType {
	out := map[string]neuralgraph.EdgeType{}
	for i := range g.Blocks {
		b := &g.Blocks[i]
		if _, seen := out[b.Parameter]; b.Parameter != "" && !seen {
			out[b.Parameter] = b.Type
		}
	}
	return out
}
