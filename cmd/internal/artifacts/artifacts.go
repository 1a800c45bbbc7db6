// Package artifacts implements `ninox artifacts`: the training, eval and
// optimizer model and the checkpoint of an ONNX model.
package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/cmd/internal/job"
	"ninox/onnxgraph"
	"ninox/training"
)

type options struct {
	job.ModelOptions
	Model     string
	Out       string
	LR        float64
	Form      string
	Overwrite bool
}

// forms of artifacts that --form chooses from.
var forms = []string{formUpstream, formLoop}

const (
	formUpstream = "upstream"
	formLoop     = "loop"
)

// NewCommand is `ninox artifacts`.
func NewCommand(a *app.App) *cobra.Command { return newCommand(a, run) }

func newCommand(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "artifacts MODEL -o DIR",
		Short: "Derive training artifacts from an ONNX model",
		Long: `Writes training_model.onnx, eval_model.onnx, optimizer_model.onnx and checkpoint into DIR, the
file set of ONNX Runtime's offline tool, in standard ONNX operators only, so that every ONNX
Runtime can execute them. 'ninox trainable MODEL' says which parameters can be trained.

With --form loop, writes training_loop.onnx alone: a model that trains itself. It takes all samples
and a number of steps, makes the steps in one ONNX Loop, and returns losses, parameters and optimizer
state, in any runtime that knows standard ONNX.`,
		Example: `  ninox artifacts model.onnx -o artifacts --loss cross-entropy --optimizer adamw
  ninox artifacts model.onnx -o artifacts --loss mse --optimizer sgd --lr 0.01 --freeze 'embed.*'
  ninox artifacts model.onnx -o artifacts --train 'head.*' --lr 3e-4
  ninox artifacts model.onnx -o loop --form loop`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Model = args[0]
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	o.Register(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "folder for the artifacts (required)")
	f.Float64Var(&o.LR, "lr", 1e-3, "initial learning rate, kept in the checkpoint")
	f.StringVar(&o.Form, "form", "upstream", "upstream: four files as ONNX Runtime's offline tool writes them; loop: one model that trains itself")
	app.Choices(cmd, "form", forms)
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace artifacts in DIR")
	return cmd
}

func (o *options) check(c *cobra.Command) error {
	var f app.Faults
	o.ModelOptions.Check(&f)
	if o.Out == "" {
		f.Addf("-o DIR is missing: the folder for the artifacts")
	}
	if !(o.LR > 0 && !math.IsInf(o.LR, 0)) {
		f.Addf("--lr %v: expected a number above 0", o.LR)
	}
	f.OneOf("form", o.Form, forms)
	return f.Err(c)
}

// Report is the machine-readable output.
type Report struct {
	Dir        string   `json:"dir"`
	File       string   `json:"file"`
	Loss       string   `json:"loss"`
	Optimizer  string   `json:"optimizer"`
	Inputs     []string `json:"inputs"` // of a batch, the labels last
	Trainable  int      `json:"trainable"`
	Frozen     int      `json:"frozen"`
	Parameters int64    `json:"parameters"` // elements of the trainable ones
}

func run(_ context.Context, a *app.App, o options) error {
	art, err := o.ArtifactsOf(a, o.Model, o.LR)
	if err != nil {
		return err
	}
	if err := o.write(art); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; --overwrite replaces it", err)
		}
		return err
	}
	r := describe(art)
	r.Dir, r.File = o.Out, training.TrainingFile+" …"
	if o.Form == formLoop {
		r.File = training.LoopFile
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "trained   %d tensors, %d parameters (%d tensors frozen)\nloss      %s of %q\noptimizer %s\nbatch     %q\nwritten   %s\n",
		r.Trainable, r.Parameters, r.Frozen, r.Loss, art.Output, r.Optimizer, r.Inputs, filepath.Join(o.Out, r.File))
	return err
}

// write writes the artifacts in the form asked for.
func (o *options) write(art *training.Artifacts) error {
	if o.Form == formUpstream {
		return art.Write(o.Out, o.Overwrite)
	}
	m, err := art.LoopModel()
	if err != nil {
		return fmt.Errorf("%s: %w", o.Model, err)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	return m.WriteFile(filepath.Join(o.Out, training.LoopFile), onnxgraph.WriteOptions{Overwrite: o.Overwrite})
}

func describe(art *training.Artifacts) Report {
	r := Report{
		Loss: art.LossKind, Optimizer: art.Config.String(), Inputs: art.Inputs,
		Trainable: len(art.Params), Frozen: len(art.Checkpoint.Frozen),
	}
	for _, p := range art.Params {
		r.Parameters += p.Len()
	}
	return r
}
