// Package weights implements `ninox weights`: parameters and optimizer state
// from one file format to another.
package weights

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/training"
)

type options struct {
	In        string
	Out       string
	Model     string
	Overwrite bool
}

// NewCommand is `ninox weights`.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "weights", Short: "Move parameters and optimizer state between file formats"}
	cmd.AddCommand(newConvert(a, run))
	return cmd
}

func newConvert(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "convert IN -o OUT",
		Short: "Write a checkpoint, safetensors, npz or ONNX file as another of these",
		Long: `Reads parameters and optimizer state and writes them in another format, bit for bit and under the
same names. Names of files tell the format: .safetensors, .npz, .onnx, and anything else is a
checkpoint of ONNX Runtime's on-device training, whoever wrote it.

Optimizer state is called PARAMETER.momentum0, PARAMETER.momentum1. Steps, learning rates and which
parameters are frozen go along. An ONNX file holds nothing but these tensors, unless --model names
a model: then OUT is that model with the parameters in it, and without optimizer state.`,
		Example: `  ninox weights convert artifacts/checkpoint -o weights.safetensors
  ninox weights convert weights.safetensors -o artifacts/checkpoint --overwrite
  ninox weights convert run/final.safetensors -o trained.onnx --model model.onnx`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.In = args[0]
			if err := o.check(c); err != nil {
				return err
			}
			return run(c.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Out, "out", "o", "", "file to write (required)")
	f.StringVar(&o.Model, "model", "", "model whose initializers OUT, an .onnx file, is to replace")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace OUT")
	return cmd
}

func (o *options) check(c *cobra.Command) error {
	var f app.Faults
	if o.Out == "" {
		f.Addf("-o OUT is missing: the file to write")
	}
	if o.Model != "" && filepath.Ext(o.Out) != ".onnx" {
		f.Addf("--model: OUT %q is no .onnx file", o.Out)
	}
	return f.Err(c)
}

// Report is the machine-readable output. Counts are of tensors.
type Report struct {
	In        string `json:"in"`
	Out       string `json:"out"`
	Trainable int    `json:"trainable"`
	Frozen    int    `json:"frozen"`
	Moments   int    `json:"moments"` // of optimizer state; left out of a model
	Step      int64  `json:"step"`
}

func run(_ context.Context, a *app.App, o options) error {
	c, err := training.ReadWeights(o.In)
	if err != nil {
		return err
	}
	if c.Nominal {
		return fmt.Errorf("%s is nominal, it holds no parameter values", o.In)
	}
	var model *onnxgraph.Model
	if o.Model != "" {
		if model, err = onnxgraph.ReadFile(o.Model); err != nil {
			return err
		}
	}
	if err := training.WriteWeights(o.Out, c, model, o.Overwrite); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; --overwrite replaces it", err)
		}
		return err
	}
	r := Report{In: o.In, Out: o.Out, Trainable: len(c.Trainable), Frozen: len(c.Frozen)}
	for _, g := range c.Groups {
		r.Step = g.Step
		for _, s := range g.States {
			if model == nil {
				r.Moments += len(s.Moments)
			}
		}
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "written %s: %d trainable and %d frozen tensors, %d of optimizer state, step %d\n", r.Out, r.Trainable, r.Frozen, r.Moments, r.Step)
	return err
}
