package training

import (
	"maps"
	"math"
	"slices"
)

// Learning-rate schedules. Each follows a linear warm-up, if there is one.
const (
	ScheduleConstant = "constant" // LR throughout
	ScheduleCosine   = "cosine"   // half a cosine from LR to 0
	ScheduleLinear   = "linear"   // straight from LR to 0
	ScheduleWSD      = "wsd"      // LR, then straight to 0 over the last fifth of the run
)

// wsdDecay is the share of the run over which ScheduleWSD decays.
const wsdDecay = 0.2

// schedules maps the progress after warm-up, in [0, 1), to a factor of LR.
var schedules = map[string]func(t float64) float64{
	ScheduleConstant: func(float64) float64 { return 1 },
	ScheduleCosine:   func(t float64) float64 { return (1 + math.Cos(math.Pi*t)) / 2 },
	ScheduleLinear:   func(t float64) float64 { return 1 - t },
	ScheduleWSD:      func(t float64) float64 { return min(1, (1-t)/wsdDecay) },
}

// Schedules lists the schedules by name.
func Schedules() []string { return slices.Sorted(maps.Keys(schedules)) }

// learningRate is the learning rate of a step, counted from 1.
func (c *Config) learningRate(step int) float64 {
	if step <= c.Warmup {
		return c.LR * float64(step) / float64(c.Warmup)
	}
	t := float64(step-1-c.Warmup) / float64(max(1, c.Steps-c.Warmup))
	return c.LR * schedules[c.Schedule](t)
}
