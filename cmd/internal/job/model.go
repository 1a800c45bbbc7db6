package job

import (
	"fmt"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
	"ninox/training"
	"ninox/training/autodiff"
)

// ModelOptions say how a model is to be trained: what becomes part of its
// training artifacts.
type ModelOptions struct {
	Loss        string
	Output      string
	Optimizer   string
	WeightDecay float64
	Momentum    float64
	ClipNorm    float64
	Train       []string
	Freeze      []string
	FineTuning
	LossTuning
	OptimizerTuning

	warmup int // of the run, which schedule-free counts
}

// modelFlags are the names of the flags of ModelOptions.
var modelFlags = slices.Concat([]string{"loss", "loss-output", "optimizer", "weight-decay", "momentum", "clip-norm", "train", "freeze"}, fineTuningFlags, lossFlags, optimizerFlags)

// Register adds the flags to a command.
func (o *ModelOptions) Register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.Loss, "loss", "", "cross-entropy (default), mse, l1, bce-logits, or output:NAME for an output of the model that is the loss")
	f.StringVar(&o.Output, "loss-output", "", "model output that the loss judges (default: the first float output)")
	f.StringVar(&o.Optimizer, "optimizer", "", "adamw (default), adam, sgd, lion, schedule-free, or muon for matrices with adamw for the rest")
	f.Float64Var(&o.WeightDecay, "weight-decay", 0, "weight decay: L2 for adam and sgd, decoupled for the others")
	f.Float64Var(&o.Momentum, "momentum", 0, "momentum of sgd, or of muon (there 0.95 by default)")
	f.Float64Var(&o.ClipNorm, "clip-norm", 0, "scale gradients down to this norm; 0 does not clip")
	f.StringSliceVar(&o.Train, "train", nil, "train only the parameters that match these globs")
	f.StringSliceVar(&o.Freeze, "freeze", nil, "do not train the parameters that match these globs")
	app.Choices(c, "loss", training.Losses())
	app.Choices(c, "optimizer", training.Optimizers())
	o.FineTuning.register(c)
	o.LossTuning.register(c)
	o.OptimizerTuning.register(c)
}

// Check adds the faults of the flags.
func (o *ModelOptions) Check(f *app.Faults) {
	if !training.IsLoss(o.Loss) {
		f.OneOf("loss", o.Loss, append(training.Losses(), training.OutputLoss+"NAME"))
	}
	f.OneOf("optimizer", o.Optimizer, training.Optimizers())
	o.FineTuning.check(f)
	o.LossTuning.check(o.Loss, f)
	o.OptimizerTuning.check(o, f)
	for _, glob := range slices.Concat(o.Train, o.Freeze, o.NoDecay, o.NoMuon) {
		if _, err := path.Match(glob, ""); err != nil {
			f.Addf("--train, --freeze, --no-decay or --no-muon %q: %w", glob, err)
		}
	}
}

// Artifacts derives training artifacts from a forward model; lr is saved in
// them, 0 means the default. Adapters and a new head start as seed says.
func (o *ModelOptions) Artifacts(m *onnxgraph.Model, lr float64, seed uint64) (*training.Artifacts, error) {
	scale, err := o.lossScale()
	if err != nil {
		return nil, fmt.Errorf("--loss-scale %q: %w", o.LossScale, err)
	}
	m, also, err := o.apply(m, o.Output, seed)
	if err != nil {
		return nil, err
	}
	return training.BuildArtifacts(m, ops.Registry(), training.ArtifactOptions{
		Loss: o.Loss, LossOptions: o.LossTuning.options(), Output: o.Output, LearningRate: lr, Train: o.Train, Freeze: o.Freeze, TrainAlso: also,
		FreezeStatistics: o.FreezeStatistics || o.LoRA != "",
		NoDecay:          o.NoDecay, DecayMatricesOnly: o.DecayMatricesOnly, NoMuon: o.NoMuon,
		Precision: o.Precision, LossScale: scale,
		Optimizer: training.Optimizer{
			Kind: o.Optimizer, WeightDecay: o.WeightDecay, Momentum: o.Momentum, ClipNorm: o.ClipNorm,
			Beta1: o.Beta1, Beta2: o.Beta2, Epsilon: o.Epsilon, Convention: o.Convention, NoBiasCorrection: o.NoBiasCorrection,
			Dampening: o.Dampening, Nesterov: o.Nesterov, Adjust: o.MuonAdjust, AdamWRate: o.AdamWRate, Warmup: o.meanWarmup(),
		},
	})
}

// meanWarmup is the warm-up where the optimizer counts it.
func (o *ModelOptions) meanWarmup() int {
	if o.Optimizer != training.ScheduleFree {
		return 0
	}
	return o.warmup
}

// ArtifactsOf reads a model file and derives its training artifacts.
func (o *ModelOptions) ArtifactsOf(a *app.App, file string, lr float64) (*training.Artifacts, error) {
	m, err := ReadModel(a, file)
	if err != nil {
		return nil, err
	}
	art, err := o.Artifacts(m, lr, a.Seed)
	if err == nil {
		return art, nil
	}
	// Some gradients need operators of a later opset than most do.
	if from := m.OpsetVersion(""); from < rewrite.Trainable {
		if newer, _, failed := rewrite.Convert(m, ops.Registry(), rewrite.Trainable); failed == nil {
			if art, failed = o.Artifacts(newer, lr, a.Seed); failed == nil {
				a.Notef("%s: converted from opset %d to %d, which its gradients need", file, from, rewrite.Trainable)
				return art, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: %w", file, err)
}

// ReadModel reads a model that is to be trained. One of an opset for which
// there are no gradients is converted to a later one, and a note says so.
func ReadModel(a *app.App, file string) (*onnxgraph.Model, error) {
	m, err := onnxgraph.ReadFile(file)
	if err != nil {
		return nil, err
	}
	from := m.OpsetVersion("")
	if from == 0 || from >= autodiff.MinOpset {
		return m, nil
	}
	if m, _, err = rewrite.Convert(m, ops.Registry(), rewrite.Trainable); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	a.Notef("%s: converted from opset %d to %d; gradients need %d or later", file, from, rewrite.Trainable, autodiff.MinOpset)
	return m, nil
}
