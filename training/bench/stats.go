package bench

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// Number is a float64 that JSON has as null where it is not finite.
type Number float64

// MarshalJSON writes null for infinity and NaN.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.finite() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

func (n Number) finite() bool { return !math.IsInf(float64(n), 0) && !math.IsNaN(float64(n)) }

// Interval is an estimate and its confidence interval.
type Interval struct {
	Value Number `json:"value"`
	Low   Number `json:"low"`
	High  Number `json:"high"`
}

// finite says whether all three numbers are.
func (i Interval) finite() bool { return i.Value.finite() && i.Low.finite() && i.High.finite() }

// median of an even number of values is the mean of the middle two; infinite
// ones sort as they are.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1 || s[n/2-1] == s[n/2]: // also two infinite ones
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// reduction is 100·(1 − steps/base), −∞ where steps is infinite. Where the base
// is infinite it is 0 if both are, and else 100.
func reduction(steps, base float64) float64 {
	switch {
	case math.IsInf(base, 1) && math.IsInf(steps, 1):
		return 0
	case math.IsInf(base, 1):
		return 100
	}
	return 100 * (1 - steps/base)
}

// pick are the values at the given indices.
func pick(v []float64, at []int) []float64 {
	out := make([]float64, len(at))
	for i, j := range at {
		out[i] = v[j]
	}
	return out
}

const (
	maxExact        = 50000 // resamples up to which all are taken
	randomResamples = 10000 // otherwise
	resampleSeed    = 1
)

// bootstrap is the percentile bootstrap of a statistic over independent groups
// of the given sizes: draw lists, for each group, the members of a resample.
func bootstrap(sizes []int, level float64, statistic func(draw [][]int) float64) Interval {
	identity := make([][]int, len(sizes))
	draw := make([][]int, len(sizes))
	all := 1.0
	for g, n := range sizes {
		draw[g] = make([]int, n)
		for i := range n {
			identity[g] = append(identity[g], i)
		}
		all *= math.Pow(float64(n), float64(n))
	}
	var values []float64
	if all <= maxExact {
		for more := true; more; more = next(draw) {
			values = append(values, statistic(draw))
		}
	} else {
		rng := rand.New(rand.NewPCG(resampleSeed, 0))
		for range randomResamples {
			for _, d := range draw {
				for i := range d {
					d[i] = rng.IntN(len(d))
				}
			}
			values = append(values, statistic(draw))
		}
	}
	slices.Sort(values)
	tail := (1 - level) / 2
	return Interval{
		Value: Number(statistic(identity)),
		Low:   Number(stat.Quantile(tail, stat.Empirical, values, nil)),
		High:  Number(stat.Quantile(1-tail, stat.Empirical, values, nil)),
	}
}

// next counts draw up like digits; false after the last.
func next(draw [][]int) bool {
	for _, d := range draw {
		for i := range d {
			if d[i]++; d[i] < len(d) {
				return true
			}
			d[i] = 0
		}
	}
	return false
}

// compare is the reduction of the medians with its interval; NaN throughout
// where the base itself misses.
func compare(steps, base []float64, level float64) Interval {
	if math.IsInf(median(base), 1) {
		nan := Number(math.NaN())
		return Interval{nan, nan, nan}
	}
	return bootstrap([]int{len(base)}, level, func(draw [][]int) float64 {
		return reduction(median(pick(steps, draw[0])), median(pick(base, draw[0])))
	})
}

// pairedDifference is the median over seeds of the base's steps minus the
// method's. A seed that both miss counts as 0.
func pairedDifference(steps, base []float64, level float64) Interval {
	d := make([]float64, len(base))
	for i := range d {
		if d[i] = base[i] - steps[i]; math.IsNaN(d[i]) {
			d[i] = 0
		}
	}
	return bootstrap([]int{len(d)}, level, func(draw [][]int) float64 { return median(pick(d, draw[0])) })
}

// average is the mean over tasks of the reductions of medians: −∞ where one is.
func average(steps, base [][]float64, level float64) Interval {
	sizes := make([]int, len(base))
	for i, b := range base {
		sizes[i] = len(b)
		if math.IsInf(median(b), 1) {
			nan := Number(math.NaN())
			return Interval{nan, nan, nan}
		}
	}
	return bootstrap(sizes, level, func(draw [][]int) float64 {
		sum := 0.0
		for i := range sizes {
			sum += reduction(median(pick(steps[i], draw[i])), median(pick(base[i], draw[i])))
		}
		return sum / float64(len(sizes))
	})
}
