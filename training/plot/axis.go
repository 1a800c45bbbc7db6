package plot

import (
	"fmt"
	"math"
	"strings"
)

// Axis maps values to pixels.
type Axis struct {
	Lo, Hi, From, To float64
	Log              bool
	Ticks            []float64
}

// At is the pixel of a value.
func (a Axis) At(v float64) float64 {
	lo, hi := a.Lo, a.Hi
	if a.Log {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	return a.From + (v-lo)/(hi-lo)*(a.To-a.From)
}

// LinearAxis covers lo..hi with about n round ticks; the ends are ticks.
func LinearAxis(lo, hi, from, to float64, n int) Axis {
	step := roundStep((hi - lo) / float64(n))
	a := Axis{Lo: math.Floor(lo/step+1e-9) * step, Hi: math.Ceil(hi/step-1e-9) * step, From: from, To: to}
	for i := 0; a.Lo+float64(i)*step <= a.Hi+step/2; i++ {
		a.Ticks = append(a.Ticks, a.Lo+float64(i)*step)
	}
	return a
}

// roundStep is the next of 1, 2 or 5 times a power of ten.
func roundStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*p*1.0001 {
			return m * p
		}
	}
	return 10 * p
}

// LogAxis covers lo..hi with ticks at 1, 2 and 5 times powers of ten, and a few
// more where that is less than a power.
func LogAxis(lo, hi, from, to float64) Axis {
	a := Axis{Lo: lo / 1.1, Hi: hi * 1.1, From: from, To: to, Log: true}
	for p := math.Pow(10, math.Floor(math.Log10(a.Lo))); p <= a.Hi; p *= 10 {
		marks := []float64{1, 2, 5}
		if hi < 10*lo {
			marks = []float64{1, 1.5, 2, 3, 4, 5, 7}
		}
		for _, m := range marks {
			if v := m * p; v >= a.Lo && v <= a.Hi {
				a.Ticks = append(a.Ticks, v)
			}
		}
	}
	return a
}

// Thousands is a number with a thin space between groups of three digits.
func Thousands(n int) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteRune('\u2009')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Trim is a number with at most two decimals.
func Trim(v float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

func tickText(v float64) string {
	if math.Abs(v) >= 1 || v == 0 {
		return Trim(v)
	}
	return fmt.Sprintf("%.2g", v)
}
