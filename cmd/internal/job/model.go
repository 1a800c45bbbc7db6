package job

import (
	"fmt"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/training"
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
}

// modelFlags are the names of the flags of ModelOptions.
var modelFlags = []string{"loss", "loss-output", "optimizer", "weight-decay", "momentum", "clip-norm", "train", "freeze"}

var optimizers = []string{training.AdamW, training.Adam, training.SGD}

// Register adds the flags to a command.
func (o *ModelOptions) Register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.Loss, "loss", "", "cross-entropy (default), mse, l1 or bce-logits")
	f.StringVar(&o.Output, "loss-output", "", "model output that the loss judges (default: the first float output)")
	f.StringVar(&o.Optimizer, "optimizer", "", "adamw (default), adam or sgd")
	f.Float64Var(&o.WeightDecay, "weight-decay", 0, "weight decay: decoupled for adamw, L2 for adam and sgd")
	f.Float64Var(&o.Momentum, "momentum", 0, "momentum of sgd")
	f.Float64Var(&o.ClipNorm, "clip-norm", 0, "scale gradients down to this norm; 0 does not clip")
	f.StringSliceVar(&o.Train, "train", nil, "train only the parameters that match these globs")
	f.StringSliceVar(&o.Freeze, "freeze", nil, "do not train the parameters that match these globs")
	app.Choices(c, "loss", training.Losses())
	app.Choices(c, "optimizer", optimizers)
}

// Check adds the faults of the flags.
func (o *ModelOptions) Check(f *app.Faults) {
	f.OneOf("loss", o.Loss, training.Losses())
	f.OneOf("optimizer", o.Optimizer, optimizers)
	if !(o.WeightDecay >= 0) {
		f.Addf("--weight-decay %v: expected at least 0", o.WeightDecay)
	}
	if !(o.ClipNorm >= 0) {
		f.Addf("--clip-norm %v: expected at least 0", o.ClipNorm)
	}
	if !(o.Momentum >= 0 && o.Momentum < 1) {
		f.Addf("--momentum %v: expected 0 to below 1", o.Momentum)
	} else if o.Momentum > 0 && o.Optimizer != training.SGD {
		f.Addf("--momentum %v: only sgd has momentum; choose --optimizer sgd", o.Momentum)
	}
	for _, glob := range slices.Concat(o.Train, o.Freeze) {
		if _, err := path.Match(glob, ""); err != nil {
			f.Addf("--train or --freeze %q: %w", glob, err)
		}
	}
}

// Artifacts derives training artifacts from a forward model; lr is saved in
// them, 0 means the default.
func (o *ModelOptions) Artifacts(m *onnxgraph.Model, lr float64) (*training.Artifacts, error) {
	return training.BuildArtifacts(m, ops.Registry(), training.ArtifactOptions{
		Loss: o.Loss, Output: o.Output, LearningRate: lr, Train: o.Train, Freeze: o.Freeze,
		Optimizer: training.Optimizer{Kind: o.Optimizer, WeightDecay: o.WeightDecay, Momentum: o.Momentum, ClipNorm: o.ClipNorm},
	})
}

// ArtifactsOf reads a model file and derives its training artifacts.
func (o *ModelOptions) ArtifactsOf(file string, lr float64) (*training.Artifacts, error) {
	m, err := onnxgraph.ReadFile(file)
	if err != nil {
		return nil, err
	}
	art, err := o.Artifacts(m, lr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return art, nil
}
