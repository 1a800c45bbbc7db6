package meta

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"ninox/neuralgraph"
	"ninox/nino"
	ort "ninox/runtime"
)

// EvaluateOptions say on what a network is measured.
type EvaluateOptions struct {
	Horizons []int // default 1, 5, 20, 40
	Spacing  int   // steps between states; default 200
	Windows  int   // of each run, evenly spread; default 4
}

// Methods that a forecast is compared with.
const (
	MethodNetwork = "network" // the weights being measured
	MethodLinefit = "linefit" // least squares line through the states of a window
	MethodNewest  = "newest"  // no change
)

// AllTypes stands for edges of every type.
const AllTypes = -1

// Forecast is the mean absolute error of scaled values on held-out runs: how
// far a forecast is off, in deviations of the tensor.
type Forecast struct {
	Runs, Windows int
	Rows          []ForecastRow // by method, horizon and type of edge, AllTypes first
}

// ForecastRow is one mean.
type ForecastRow struct {
	Method  string  `json:"method"`
	Horizon int     `json:"horizon"`
	Type    int     `json:"type"` // neuralgraph.EdgeType of the edges that carry the parameters, or AllTypes
	Error   float64 `json:"error"`
	Values  int     `json:"values"`
}

// Error is the mean error of a method at a horizon over all types, NaN where
// nothing was measured.
func (f *Forecast) Error(method string, horizon int) float64 {
	return f.ErrorOn(method, horizon, AllTypes)
}

// ErrorOn is the mean error over edges of one type, NaN where nothing was
// measured.
func (f *Forecast) ErrorOn(method string, horizon, kind int) float64 {
	for _, r := range f.Rows {
		if r.Method == method && r.Horizon == horizon && r.Type == kind {
			return r.Error
		}
	}
	return math.NaN()
}

// Types lists the types of edges that were measured, in their order.
func (f *Forecast) Types() []int {
	seen := map[int]bool{}
	for _, r := range f.Rows {
		if r.Type != AllTypes {
			seen[r.Type] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (o EvaluateOptions) defaults(c nino.Config) (EvaluateOptions, error) {
	if len(o.Horizons) == 0 {
		o.Horizons = []int{1, 5, 20, 40}
	}
	if o.Spacing == 0 {
		o.Spacing = 200
	}
	if o.Windows == 0 {
		o.Windows = 4
	}
	for _, k := range o.Horizons {
		if k < 1 || k > c.Horizons {
			return o, fmt.Errorf("evaluate: horizon %d, the network predicts 1 to %d", k, c.Horizons)
		}
	}
	if o.Windows < 1 || o.Spacing < 1 {
		return o, fmt.Errorf("evaluate: %d windows, %d steps apart", o.Windows, o.Spacing)
	}
	return o, nil
}

// Evaluate measures forecasts of the network on the store's held-out runs.
func Evaluate(ctx context.Context, engine *ort.Engine, w *nino.Weights, s *Store, o EvaluateOptions) (*Forecast, error) {
	o, err := o.defaults(w.Config)
	if err != nil {
		return nil, err
	}
	win, err := openWindows(s, w.Config, w.Naive(), true)
	if err != nil {
		return nil, err
	}
	defer win.close()
	return win.evaluate(ctx, engine, w, o)
}

func (w *windows) evaluate(ctx context.Context, engine *ort.Engine, net *nino.Weights, o EvaluateOptions) (*Forecast, error) {
	m, err := nino.TrainingModel(net, nino.DefaultOpset)
	if err != nil {
		return nil, err
	}
	session, err := engine.NewSession(m, ort.SessionOptions{})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	f := &Forecast{Runs: len(w.runs)}
	sums := forecastSums{}
	for _, r := range w.runs {
		stride, err := r.stride(o.Spacing)
		if err != nil {
			return nil, err
		}
		// Windows whose furthest horizon lies within the run, where there are any.
		room := max(1, r.States()-(w.config.Context-1+slices.Max(o.Horizons))*stride)
		for i := range o.Windows {
			ex, err := w.window(r, r.examples, i*room/o.Windows, stride, r.examples.Taps(), o.Horizons)
			if err != nil {
				return nil, err
			}
			if ex.ValidCount == 0 {
				continue
			}
			forecast, err := w.forecast(ctx, session, ex, o.Horizons)
			if err != nil {
				return nil, err
			}
			sums.add(w.config, ex, forecast, o.Horizons)
			f.Windows++
		}
	}
	f.Rows = sums.rows(o.Horizons)
	return f, nil
}

// forecast runs the network on one example: [Edges, F·H].
func (w *windows) forecast(ctx context.Context, s *ort.Session, ex *nino.Example, horizons []int) ([]float32, error) {
	in, err := w.batch(draws{[]*nino.Example{ex}, horizons})
	defer closeAll(in)
	if err != nil {
		return nil, err
	}
	delete(in, "target")
	ones, err := ort.FloatValue([]int64{int64(ex.Edges), int64(ex.Taps * len(horizons))}, slices.Repeat([]float32{1}, len(ex.Target)))
	if err != nil {
		return nil, err
	}
	in["weight"].Close()
	in["weight"] = ones
	out, err := s.Run(ctx, in)
	if err != nil {
		return nil, err
	}
	defer closeAll(out)
	return slices.Clone(out["forecast"].Floats()), nil
}

// forecastSums adds up errors by method, horizon and type; AllTypes among them.
type forecastSums map[forecastKey]*forecastSum

type forecastKey struct {
	method  string
	horizon int
	kind    int
}

type forecastSum struct {
	sum float64
	n   int
}

func (s forecastSums) add(c nino.Config, ex *nino.Example, forecast []float32, horizons []int) {
	outputs := ex.Taps * len(horizons)
	for e := range ex.Edges {
		for f := range ex.Taps {
			states := ex.Features[e*ex.Taps*c.Context+f*c.Context:][:c.Context]
			for h, k := range horizons {
				n := e*outputs + f*len(horizons) + h
				if !ex.Valid[n] {
					continue
				}
				for method, v := range map[string]float64{
					MethodNetwork: float64(forecast[n]), MethodNewest: float64(states[c.Context-1]), MethodLinefit: extrapolate(states, k),
				} {
					off := math.Abs(v-float64(ex.Target[n])) * float64(ex.Unit[e*ex.Taps+f])
					s.count(forecastKey{method, k, AllTypes}, off)
					s.count(forecastKey{method, k, int(ex.Types[e])}, off)
				}
			}
		}
	}
}

func (s forecastSums) count(key forecastKey, off float64) {
	if s[key] == nil {
		s[key] = &forecastSum{}
	}
	s[key].sum += off
	s[key].n++
}

func (s forecastSums) rows(horizons []int) []ForecastRow {
	var out []ForecastRow
	for _, method := range []string{MethodNetwork, MethodLinefit, MethodNewest} {
		for _, k := range horizons {
			for kind := AllTypes; kind <= int(neuralgraph.EdgeSelfLoop); kind++ {
				sum := s[forecastKey{method, k, kind}]
				if sum == nil {
					continue
				}
				out = append(out, ForecastRow{method, k, kind, sum.sum / float64(sum.n), sum.n})
			}
		}
	}
	return out
}

// extrapolate is the least squares line through equally spaced values, k
// intervals after the last one.
func extrapolate(v []float32, k int) float64 {
	n := float64(len(v))
	middle := (n - 1) / 2
	mean, slope, spread := 0.0, 0.0, 0.0
	for i, x := range v {
		d := float64(i) - middle
		mean += float64(x) / n
		slope += d * float64(x)
		spread += d * d
	}
	return mean + slope/spread*(middle+float64(k))
}
