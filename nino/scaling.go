package nino

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Scaling says how parameters are scaled before the network sees them.
type Scaling string

// Scaling methods.
const (
	ScaleLayerwise       Scaling = "layerwise"        // mean and deviation of each stored tensor over all states
	ScaleParameter       Scaling = "parameter"        // mean and deviation of each number over the states
	ScaleMinMax          Scaling = "minmax"           // range of each stored tensor over all states
	ScaleMinMaxParameter Scaling = "minmax-parameter" // range of each number over the states
	ScaleNone            Scaling = "none"
)

// referenceScalings are the reference's names; "" is its default.
var referenceScalings = map[string]Scaling{
	"": ScaleLayerwise, "std": ScaleLayerwise, "std-param": ScaleParameter,
	"min-max": ScaleMinMax, "min-max-param": ScaleMinMaxParameter, "none": ScaleNone,
}

// Settings are the reference's settings (model_args) of what the tensors of a
// network do not show: how it scales, and whether it reads naive graphs of
// attention. Those of the paper's main network are its defaults and left out.
func Settings(s Scaling, naive bool) map[string]string {
	out := map[string]string{}
	for reference, scaling := range referenceScalings {
		if scaling == s && s != ScaleLayerwise {
			out["scale_method"] = reference
		}
	}
	if naive {
		out["improved_graph"] = "False"
	}
	return out
}

func scalingOf(reference string) (Scaling, error) {
	s, ok := referenceScalings[reference]
	if !ok {
		return "", fmt.Errorf("setting scale_method is %q, expected one of %q", reference, slices.Sorted(maps.Keys(referenceScalings))[1:])
	}
	return s, nil
}

const (
	scaleEpsilon = 1e-6 // added to the deviation when scaling, not when unscaling
	scaleFloor   = 1e-2 // least deviation or range where one is computed per number, and least range
)

// scale is the affine map of one number: scaled = (w - mean) / (std + 1e-6),
// w = scaled·std + mean.
type scale struct{ mean, std float64 }

func (s scale) apply(w float32) float32 {
	return float32((float64(w) - s.mean) / (s.std + scaleEpsilon))
}

// applyAll scales numbers in place.
func (s scale) applyAll(v []float32) {
	mean, inverse := s.mean, 1/(s.std+scaleEpsilon)
	for i, w := range v {
		v[i] = float32((float64(w) - mean) * inverse)
	}
}

func (s scale) invert(v float32) float32 {
	return float32(float64(v)*s.std + s.mean)
}

// scaler gives the scale of each number of a stored tensor. Where each has its
// own it is computed when asked for.
type scaler struct {
	method Scaling
	all    scale    // where all have the same
	states []column // where they don't
}

// newScaler computes the scales of a tensor from its past states, in parallel.
func newScaler(method Scaling, states []column, workers int) *scaler {
	switch method {
	case ScaleLayerwise:
		return &scaler{method: method, all: moments(states, workers)}
	case ScaleMinMax:
		return &scaler{method: method, all: extent(states, workers)}
	case ScaleNone:
		return &scaler{method: method, all: scale{std: 1 - scaleEpsilon}}
	}
	return &scaler{method: method, states: states}
}

// at is the scale of number i.
func (s *scaler) at(i int64) scale {
	if s.states == nil {
		return s.all
	}
	past := make([]float32, 0, 8)
	for _, c := range s.states {
		past = append(past, c.at(i))
	}
	return s.of(past)
}

// of is the scale of a number with these past values.
func (s *scaler) of(past []float32) scale {
	if s.states == nil {
		return s.all
	}
	var v summary
	v.add(past)
	if s.method == ScaleParameter {
		return scale{v.mean, max(v.deviation(), scaleFloor)}
	}
	return scale{0, max(v.high-v.low, scaleFloor)}
}

// moments is the mean and the standard deviation (divisor n-1) of all values.
// A single value has no deviation: 0.
func moments(states []column, workers int) scale {
	v := summarize(states, workers)
	return scale{v.mean, v.deviation()}
}

// extent is the range of all values, as the deviation of a scale with mean 0.
func extent(states []column, workers int) scale {
	v := summarize(states, workers)
	return scale{0, max(v.high-v.low, scaleFloor)}
}

// summary is what one pass over numbers tells of them, in float64: over many
// numbers float32 would lose digits.
type summary struct {
	n         float64
	mean      float64
	squares   float64 // sum of squared distances from the mean
	low, high float64
}

func (s *summary) deviation() float64 { return math.Sqrt(s.squares / max(1, s.n-1)) }

// add takes numbers in. They are summed as distances from their first one,
// which keeps the digits of a small spread around a large mean.
func (s *summary) add(v []float32) {
	first := float64(v[0])
	low, high, sum, squares := first, first, 0.0, 0.0
	for _, x := range v {
		low, high = min(low, float64(x)), max(high, float64(x))
		d := float64(x) - first
		sum += d
		squares += d * d
	}
	n := float64(len(v))
	s.merge(summary{n, first + sum/n, max(0, squares-sum*sum/n), low, high})
}

// merge takes in the numbers of another summary (Chan, Golub and LeVeque 1979).
func (s *summary) merge(o summary) {
	if s.n == 0 {
		*s = o
		return
	}
	n, d := s.n+o.n, o.mean-s.mean
	s.squares += o.squares + d*d*s.n*o.n/n
	s.mean += d * o.n / n
	s.n, s.low, s.high = n, min(s.low, o.low), max(s.high, o.high)
}

// summaryChunk is how many numbers are widened at a time.
const summaryChunk = 1 << 15

// summarize reads all values once. The chunks are merged in their order, so the
// number of workers does not matter.
func summarize(states []column, workers int) summary {
	length := states[0].len()
	chunks := (length + summaryChunk - 1) / summaryChunk
	parts := make([]summary, chunks*len(states))
	var next atomic.Int64
	work := func() {
		buffer := make([]float32, min(length, summaryChunk))
		for i := int(next.Add(1)) - 1; i < len(parts); i = int(next.Add(1)) - 1 {
			first := i % chunks * summaryChunk
			v := buffer[:min(summaryChunk, length-first)]
			states[i/chunks].read(v, 1, int64(first), 1, len(v))
			parts[i].add(v)
		}
	}
	var wg sync.WaitGroup
	for range min(workers, len(parts)) {
		wg.Go(work)
	}
	wg.Wait()
	var all summary
	for _, p := range parts {
		all.merge(p)
	}
	return all
}
