package nino

import (
	"math"
	"slices"
)

// Defaults of the paper's horizon schedule.
const (
	DefaultPeriod = 1000 // training steps between nowcasts
	DefaultPower  = 2.0  // of the schedule's decay
)

// scheduleText is the schedule in the metadata of exported networks.
const scheduleText = "k_i = round(linspace(K^(1/p), 1, steps/period)_i ^ p), p = 2, period = 1000; one unit of k is period/context steps"

// Horizons is the schedule of a run of so many training steps with a nowcast
// every period: far horizons early, near ones late, from max down to 1 as a
// power p of a straight line (halves round to even); p = 0 keeps max throughout.
// It has an element for every nowcast, at least one. The unit is the interval
// between states.
func Horizons(max, steps, period int, p float64) []int {
	n := 1
	if period > 0 && steps/period > 1 {
		n = steps / period
	}
	if p == 0 {
		return slices.Repeat([]int{max}, n)
	}
	out := make([]int, n)
	first := math.Pow(float64(max), 1/p)
	for i := range out {
		x := first
		if n > 1 {
			x += float64(i) * (1 - first) / float64(n-1)
		}
		out[i] = int(math.RoundToEven(math.Pow(x, p)))
	}
	return out
}
