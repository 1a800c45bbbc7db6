package training

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Optimizer kinds.
const (
	AdamW = "adamw" // Adam with decoupled weight decay
	Adam  = "adam"  // Adam; weight decay, where given, is added to the gradient (L2)
	SGD   = "sgd"   // gradient descent, with momentum where given; weight decay is L2
	Lion  = "lion"  // the sign of a mean of gradients, with decoupled weight decay
	// Muon steps along the orthogonalised mean of the gradients of a weight
	// matrix, with decoupled weight decay; AdamW updates everything else.
	Muon = "muon"
	// ScheduleFree is AdamW without a schedule (Defazio et al., 2024): gradients
	// are taken between a fast sequence and its mean, and the mean is the result.
	ScheduleFree = "schedule-free"
)

// Optimizers lists the kinds by name.
func Optimizers() []string { return []string{AdamW, Adam, SGD, Lion, Muon, ScheduleFree} }

// Conventions of Adam and AdamW: where eps and the decay enter.
const (
	// PyTorch: w·(1 − lr·wd), then w − lr/(1−β1ᵗ)·m/(√v/√(1−β2ᵗ) + eps).
	PyTorch = "pytorch"
	// ORT is the convention of ONNX Runtime's AdamWOptimizer:
	// w − lr·√(1−β2ᵗ)/(1−β1ᵗ)·m/(√v + eps), then w·(1 − lr·wd).
	ORT = "onnxruntime"
)

// Adjustments of Muon's step to a matrix that takes n inputs to k outputs.
const (
	Original = "original"        // √max(1, k/n), as published
	MatchRMS = "match-rms-adamw" // 0.2·√max(n, k): about AdamW's step, so that both share a learning rate
)

// Adjustments lists Muon's adjustments by name.
func Adjustments() []string { return []string{Original, MatchRMS} }

// Optimizer configures the update of the parameters. The zero value is AdamW
// with PyTorch's defaults, but without weight decay.
type Optimizer struct {
	Kind       string // one of Optimizers(); default AdamW
	Convention string // of Adam and AdamW; default PyTorch
	// Beta1 and Beta2 default to 0.9 and 0.999 (Lion: 0.99; AdamW beside Muon:
	// 0.95, as published).
	Beta1, Beta2     float64
	Epsilon          float64 // default 1e-8 (convention ORT: 1e-6, upstream's default)
	WeightDecay      float64
	Momentum         float64 // of SGD; of Muon, default 0.95
	Dampening        float64 // of SGD: from the second step on, gradients enter the momentum times 1 − Dampening
	Nesterov         bool    // of SGD: look ahead by the momentum
	NoNesterov       bool    // of Muon, which looks ahead by default
	NoBiasCorrection bool    // leave out the factors 1−βᵗ of Adam and AdamW
	Adjust           string  // of Muon; default Original
	// AdamWRate of Muon is the learning rate of AdamW relative to that of the
	// matrices; default 0.015 with Original (3e-4 for 0.02, as published), else 1.
	AdamWRate float64
	// Warmup of ScheduleFree is the number of steps over which the learning rate
	// rises, which its mean counts by the square of their rate.
	Warmup int
	// SkipNonFinite leaves an update out where a gradient is infinite or NaN.
	SkipNonFinite bool
	// ClipNorm scales the gradients by min(1, ClipNorm/(norm+1e-6)), where norm
	// is over all parameters together; 0 does not clip.
	ClipNorm float64
}

// withDefaults fills what is unset.
func (o Optimizer) withDefaults() Optimizer {
	o.Kind = cmp.Or(o.Kind, AdamW)
	if o.Kind == SGD {
		return o
	}
	o.Beta1 = cmp.Or(o.Beta1, 0.9)
	switch o.Kind {
	case Lion:
		o.Beta2 = cmp.Or(o.Beta2, 0.99)
		return o
	case Muon:
		o.Beta2, o.Momentum = cmp.Or(o.Beta2, 0.95), cmp.Or(o.Momentum, 0.95)
		if o.Adjust = cmp.Or(o.Adjust, Original); o.Adjust == Original {
			o.AdamWRate = cmp.Or(o.AdamWRate, 0.015)
		}
		o.AdamWRate = cmp.Or(o.AdamWRate, 1)
	default:
		o.Beta2 = cmp.Or(o.Beta2, 0.999)
	}
	if o.Kind != ScheduleFree {
		o.Convention = cmp.Or(o.Convention, PyTorch)
	}
	if o.Convention == ORT {
		o.Epsilon = cmp.Or(o.Epsilon, 1e-6)
	}
	o.Epsilon = cmp.Or(o.Epsilon, 1e-8)
	return o
}

// Validate names every field that makes no sense.
func (o Optimizer) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("optimizer: "+format, args...)) }
	for _, f := range []struct {
		name, value string
		of          []string
	}{{"kind", o.Kind, Optimizers()}, {"convention", o.Convention, []string{PyTorch, ORT}}, {"adjustment", o.Adjust, Adjustments()}} {
		if f.value != "" && !slices.Contains(f.of, f.value) {
			bad("unknown %s %q, expected one of %s", f.name, f.value, strings.Join(f.of, ", "))
		}
	}
	for name, v := range map[string]float64{"beta1": o.Beta1, "beta2": o.Beta2, "momentum": o.Momentum, "dampening": o.Dampening} {
		if !(v >= 0 && v < 1) {
			bad("%s %v is not in [0, 1)", name, v)
		}
	}
	for name, v := range map[string]float64{"epsilon": o.Epsilon, "weight decay": o.WeightDecay, "clip norm": o.ClipNorm, "rate of adamw": o.AdamWRate} {
		if !(v >= 0) {
			bad("%s %v is negative", name, v)
		}
	}
	if o.Warmup < 0 {
		bad("warm-up of %d steps is negative", o.Warmup)
	}
	o.validateUse(bad)
	return errors.Join(errs...)
}

// validateUse names the options that the kind does not have.
func (o Optimizer) validateUse(bad func(format string, args ...any)) {
	kind := cmp.Or(o.Kind, AdamW)
	adams := []string{AdamW, Adam, Muon}
	for _, only := range []struct {
		given  bool
		option string
		kinds  []string
	}{
		{o.Momentum != 0, "momentum", []string{SGD, Muon}},
		{o.Dampening != 0, "dampening", []string{SGD}},
		{o.Nesterov, "nesterov", []string{SGD}},
		{o.NoNesterov, "plain momentum", []string{Muon}},
		{o.NoBiasCorrection, "no bias correction", adams},
		{o.Warmup != 0, "warm-up", []string{ScheduleFree}},
		{o.Convention != "", "a convention", adams},
		{o.Epsilon != 0, "epsilon", append(adams, ScheduleFree)},
		{o.Adjust != "", "an adjustment", []string{Muon}},
		{o.AdamWRate != 0, "a rate of adamw", []string{Muon}},
	} {
		if only.given && !slices.Contains(only.kinds, kind) {
			bad("%s is an option of %s, not of %s", only.option, strings.Join(only.kinds, ", "), kind)
		}
	}
	if o.Nesterov && (o.Momentum == 0 || o.Dampening != 0) {
		bad("nesterov needs momentum and no dampening")
	}
}

// moments is the number of state tensors per parameter of a group.
func (o Optimizer) moments(g Group) int {
	switch {
	case o.Kind == Lion, o.Kind == Muon && g.Matrix != "", o.Kind == SGD && o.Momentum != 0:
		return 1
	case o.Kind == SGD:
		return 0
	}
	return 2
}

// decay is the weight decay of a group.
func (o Optimizer) decay(g Group) float64 {
	if g.NoDecay {
		return 0
	}
	return o.WeightDecay
}
