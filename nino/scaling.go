package nino

import (
	"fmt"
	"maps"
	"math"
	"slices"
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

func (s scale) invert(v float32) float32 {
	return float32(float64(v)*s.std + s.mean)
}

// scaler holds the scales of one stored tensor: one for all numbers, or one
// for each.
type scaler struct {
	all  scale
	each []scale
}

func (s *scaler) at(i int) scale {
	if s.each != nil {
		return s.each[i]
	}
	return s.all
}

// newScaler computes the scales of a tensor from its past states. Sums are
// made in float64: over many numbers float32 would lose digits.
func newScaler(method Scaling, states [][]float32) *scaler {
	switch method {
	case ScaleLayerwise:
		return &scaler{all: moments(states)}
	case ScaleMinMax:
		return &scaler{all: extent(states)}
	case ScaleNone:
		return &scaler{all: scale{std: 1 - scaleEpsilon}}
	}
	s := &scaler{each: make([]scale, len(states[0]))}
	one := make([]float32, len(states))
	for i := range s.each {
		for t, v := range states {
			one[t] = v[i]
		}
		if method == ScaleParameter {
			s.each[i] = moments([][]float32{one})
			s.each[i].std = max(s.each[i].std, scaleFloor)
		} else {
			s.each[i] = extent([][]float32{one})
		}
	}
	return s
}

// moments is the mean and the standard deviation (divisor n-1) of all values.
// A single value has no deviation: 0.
func moments(states [][]float32) scale {
	n, sum := 0, 0.0
	for _, v := range states {
		n += len(v)
		for _, x := range v {
			sum += float64(x)
		}
	}
	mean := sum / float64(n)
	squares := 0.0
	for _, v := range states {
		for _, x := range v {
			d := float64(x) - mean
			squares += d * d
		}
	}
	return scale{mean, math.Sqrt(squares / float64(max(1, n-1)))}
}

// extent is the range of all values, as the deviation of a scale with mean 0.
func extent(states [][]float32) scale {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range states {
		for _, x := range v {
			lo, hi = min(lo, float64(x)), max(hi, float64(x))
		}
	}
	return scale{0, max(hi-lo, scaleFloor)}
}
