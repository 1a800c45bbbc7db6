package job

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/training"
)

// LossTuning are the flags that refine a loss.
type LossTuning struct {
	Reduction      string
	IgnoreIndex    *int64 // nil: no label is ignored
	ClassWeights   []float32
	LabelSmoothing float64
	PosWeight      []float32
}

// lossFlags are their names.
var lossFlags = []string{"reduction", "ignore-index", "class-weights", "label-smoothing", "pos-weight"}

func (o *LossTuning) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.Reduction, "reduction", "", "mean (default) or sum of the loss over its elements")
	f.Var(intFlag{&o.IgnoreIndex}, "ignore-index", "cross-entropy: label of positions that count nothing")
	f.Float32SliceVar(&o.ClassWeights, "class-weights", nil, "cross-entropy: a weight for each class")
	f.Float64Var(&o.LabelSmoothing, "label-smoothing", 0, "cross-entropy: part of the target spread over all classes")
	f.Float32SliceVar(&o.PosWeight, "pos-weight", nil, "bce-logits: weight of positive targets, one or one per place of the last axis")
	app.Choices(c, "reduction", []string{training.Mean, training.Sum})
}

func (o *LossTuning) check(loss string, f *app.Faults) {
	f.OneOf("reduction", o.Reduction, []string{training.Mean, training.Sum})
	if !(o.LabelSmoothing >= 0 && o.LabelSmoothing <= 1) {
		f.Addf("--label-smoothing %v: expected 0 to 1", o.LabelSmoothing)
	}
	for _, w := range slices.Concat(o.ClassWeights, o.PosWeight) {
		if !(w >= 0) {
			f.Addf("--class-weights or --pos-weight %v: expected at least 0", w)
		}
	}
	if loss == "" {
		loss = training.CrossEntropy
	}
	onlyOf(f, "loss", loss, []use{
		{"ignore-index", o.IgnoreIndex != nil, []string{training.CrossEntropy}},
		{"class-weights", o.ClassWeights != nil, []string{training.CrossEntropy}},
		{"label-smoothing", o.LabelSmoothing != 0, []string{training.CrossEntropy}},
		{"pos-weight", o.PosWeight != nil, []string{training.BCELogits}},
		{"reduction", o.Reduction != "", training.Losses()},
	})
}

func (o *LossTuning) options() training.LossOptions {
	return training.LossOptions{
		Reduction: o.Reduction, IgnoreIndex: o.IgnoreIndex, ClassWeights: o.ClassWeights,
		LabelSmoothing: o.LabelSmoothing, PosWeight: o.PosWeight,
	}
}

// OptimizerTuning are the flags that refine an optimizer, besides weight decay,
// momentum and clipping. Zero values mean the optimizer's defaults.
type OptimizerTuning struct {
	Beta1, Beta2      float64
	Epsilon           float64
	Convention        string
	NoBiasCorrection  bool
	Dampening         float64
	Nesterov          bool
	MuonAdjust        string
	AdamWRate         float64
	NoDecay           []string
	DecayMatricesOnly bool
	NoMuon            []string
	Precision         string
	LossScale         string // "dynamic" or a number
}

// optimizerFlags are their names.
var optimizerFlags = []string{
	"beta1", "beta2", "epsilon", "convention", "no-bias-correction", "dampening", "nesterov",
	"muon-adjust", "adamw-rate", "no-decay", "decay-matrices-only", "no-muon", "precision", "loss-scale",
}

// conventions of Adam and AdamW.
var conventions = []string{training.PyTorch, training.ORT}

func (o *OptimizerTuning) register(c *cobra.Command) {
	f := c.Flags()
	f.Float64Var(&o.Beta1, "beta1", 0, "decay of the mean of gradients (default 0.9)")
	f.Float64Var(&o.Beta2, "beta2", 0, "decay of the second mean (default 0.999; lion 0.99, muon 0.95)")
	f.Float64Var(&o.Epsilon, "epsilon", 0, "adamw, adam, schedule-free: added to the root of the second mean (default 1e-8)")
	f.StringVar(&o.Convention, "convention", "", "adamw, adam: pytorch (default) or onnxruntime, where epsilon and decay enter")
	f.BoolVar(&o.NoBiasCorrection, "no-bias-correction", false, "adamw, adam: leave out the correction of the first steps")
	f.Float64Var(&o.Dampening, "dampening", 0, "sgd: gradients enter the momentum times 1 minus this")
	f.BoolVar(&o.Nesterov, "nesterov", false, "sgd: look ahead by the momentum")
	f.StringVar(&o.MuonAdjust, "muon-adjust", "", "muon: step by the shape of a matrix, original (default) or match-rms-adamw")
	f.Float64Var(&o.AdamWRate, "adamw-rate", 0, "muon: learning rate of what adamw updates, relative to --lr (default 0.015; match-rms-adamw 1)")
	f.StringSliceVar(&o.NoDecay, "no-decay", nil, "no weight decay for the parameters that match these globs")
	f.BoolVar(&o.DecayMatricesOnly, "decay-matrices-only", false, "no weight decay for biases, normalisation weights and other vectors")
	f.StringSliceVar(&o.NoMuon, "no-muon", nil, "muon: adamw updates the matrices that match these globs, such as the output layer")
	f.StringVar(&o.Precision, "precision", "", "fp32 (default), or fp16 or bf16 for products, with parameters in fp32; the CPU has no bf16")
	f.StringVar(&o.LossScale, "loss-scale", "", "factor of the loss in the backward pass, or dynamic (default with fp16)")
	app.Choices(c, "precision", training.Precisions())
	app.Choices(c, "convention", conventions)
	app.Choices(c, "muon-adjust", training.Adjustments())
}

func (o *OptimizerTuning) check(m *ModelOptions, f *app.Faults) {
	f.OneOf("precision", o.Precision, training.Precisions())
	if s, err := o.lossScale(); err != nil || s.Factor < 0 || math.IsNaN(s.Factor) || math.IsInf(s.Factor, 0) {
		f.Addf("--loss-scale %q: expected a number of at least 0, or %s", o.LossScale, dynamicScale)
	}
	f.OneOf("convention", o.Convention, conventions)
	f.OneOf("muon-adjust", o.MuonAdjust, training.Adjustments())
	for _, r := range []struct {
		flag  string
		value float64
		below float64
		text  string
	}{
		{"weight-decay", m.WeightDecay, math.Inf(1), "at least 0"}, {"clip-norm", m.ClipNorm, math.Inf(1), "at least 0"},
		{"epsilon", o.Epsilon, math.Inf(1), "at least 0"}, {"adamw-rate", o.AdamWRate, math.Inf(1), "at least 0"},
		{"momentum", m.Momentum, 1, "0 to below 1"}, {"dampening", o.Dampening, 1, "0 to below 1"},
		{"beta1", o.Beta1, 1, "0 to below 1"}, {"beta2", o.Beta2, 1, "0 to below 1"},
	} {
		if !(r.value >= 0 && r.value < r.below) {
			f.Addf("--%s %v: expected %s", r.flag, r.value, r.text)
		}
	}
	kind := m.Optimizer
	if kind == "" {
		kind = training.AdamW
	}
	adams, muon := []string{training.AdamW, training.Adam, training.Muon}, []string{training.Muon}
	free := append(adams, training.ScheduleFree)
	onlyOf(f, "optimizer", kind, []use{
		{"momentum", m.Momentum != 0, []string{training.SGD, training.Muon}},
		{"dampening", o.Dampening != 0, []string{training.SGD}},
		{"nesterov", o.Nesterov, []string{training.SGD}},
		{"beta1", o.Beta1 != 0, append(free, training.Lion)},
		{"beta2", o.Beta2 != 0, append(free, training.Lion)},
		{"epsilon", o.Epsilon != 0, free},
		{"convention", o.Convention != "", adams},
		{"no-bias-correction", o.NoBiasCorrection, adams},
		{"muon-adjust", o.MuonAdjust != "", muon},
		{"adamw-rate", o.AdamWRate != 0, muon},
		{"no-muon", o.NoMuon != nil, muon},
	})
	if o.Nesterov && (m.Momentum == 0 || o.Dampening != 0) {
		f.Addf("--nesterov: expected a --momentum above 0 and no --dampening")
	}
}

// dynamicScale is the value of --loss-scale for a factor that adapts.
const dynamicScale = "dynamic"

// lossScale reads --loss-scale.
func (o *OptimizerTuning) lossScale() (training.LossScale, error) {
	switch o.LossScale {
	case "":
		return training.LossScale{}, nil
	case dynamicScale:
		return training.LossScale{Dynamic: true}, nil
	}
	factor, err := strconv.ParseFloat(o.LossScale, 64)
	return training.LossScale{Factor: factor}, err
}

// use is a flag, whether it was given, and what it is an option of.
type use struct {
	flag  string
	given bool
	of    []string
}

// onlyOf adds the faults of flags that were given for another choice of flag
// than theirs.
func onlyOf(f *app.Faults, flag, choice string, uses []use) {
	for _, u := range uses {
		if u.given && !slices.Contains(u.of, choice) {
			f.Addf("--%s: an option of --%s %s, not of %s", u.flag, flag, strings.Join(u.of, ", "), choice)
		}
	}
}

// intFlag is the value of a flag for an *int64 that is nil until set.
type intFlag struct{ to **int64 }

func (v intFlag) Type() string { return "int" }

func (v intFlag) String() string {
	if v.to == nil || *v.to == nil {
		return ""
	}
	return strconv.FormatInt(**v.to, 10)
}

func (v intFlag) Set(text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	*v.to = &n
	return err
}
