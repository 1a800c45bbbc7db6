// Package lora implements `ninox lora`: what becomes of trained adapters.
package lora

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ninox/cmd/internal/app"
	"ninox/onnxgraph"
	"ninox/onnxgraph/finetune"
	"ninox/onnxgraph/ops"
)

type options struct {
	Model     string // an ONNX file or a run folder
	Adapter   string // a folder of PEFT's
	Out       string
	Strip     string
	Prefix    string
	Overwrite bool
}

// NewCommand is `ninox lora`.
func NewCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "lora", Short: "Merge trained LoRA adapters into a model, or exchange them with PEFT"}
	cmd.AddCommand(newMerge(a, merge), newExport(a, export), newImport(a, load))
	return cmd
}

func newMerge(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "merge RUN|MODEL -o FILE",
		Short: "Write a plain model: adapters added to the weights",
		Long: `Adds the adapters of a model that was trained with --lora to its weights and writes a plain ONNX
model, without adapters. RUN is a run folder, whose final.onnx is taken. A weight that is also read
as something else, as a tied embedding is, keeps its value there.`,
		Example: `  ninox lora merge run -o merged.onnx
  ninox lora merge run/final.onnx -o merged.onnx`,
		Args: cobra.ExactArgs(1),
	}
	return o.command(cmd, a, run)
}

func newExport(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "export RUN|MODEL -o DIR",
		Short: "Write the adapters as PEFT keeps them",
		Long: `Writes adapter_model.safetensors and adapter_config.json, which PEFT's PeftModel.from_pretrained
loads onto the network that the model was exported from. Layers trained whole (--new-head) go along
as modules_to_save. Names are those of the modules in the export; --strip cuts the name of a
wrapper off their front.`,
		Example: `  ninox lora export run -o adapter
  ninox lora export run/final.onnx -o adapter --strip model.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&o.Strip, "strip", "", "prefix that module names lose")
	return o.command(cmd, a, run)
}

func newImport(a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "import MODEL ADAPTER -o FILE",
		Short: "Put an adapter of PEFT's onto a model",
		Long: `Reads adapter_config.json and adapter_model.safetensors in the folder ADAPTER, which PEFT's
save_pretrained wrote, and writes MODEL with that adapter: to run as it is, to merge ('ninox lora
merge') or to train on. MODEL is an ONNX export of the network that the adapter belongs to. Layers
are found by the names of their modules, or by the last parts of these; --prefix is put before the
names in the adapter. Modules that were trained whole (modules_to_save) replace those of the model.`,
		Example: `  ninox lora import model.onnx adapter -o tuned.onnx
  ninox lora import model.onnx adapter -o tuned.onnx --prefix model.`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&o.Prefix, "prefix", "", "what module names in the model begin with, beyond those in the adapter")
	return o.command(cmd, a, run)
}

// command adds what all verbs have in common.
func (o *options) command(cmd *cobra.Command, a *app.App, run func(context.Context, *app.App, options) error) *cobra.Command {
	cmd.RunE = func(c *cobra.Command, args []string) error {
		var f app.Faults
		if o.Out == "" {
			f.Addf("-o is missing: where to write")
		}
		if err := f.Err(c); err != nil {
			return err
		}
		o.Model = args[0]
		if len(args) > 1 {
			o.Adapter = args[1]
		}
		if st, err := os.Stat(o.Model); err == nil && st.IsDir() {
			o.Model = filepath.Join(o.Model, "final.onnx")
		}
		return run(c.Context(), a, *o)
	}
	cmd.Flags().StringVarP(&o.Out, "out", "o", "", "file or folder to write (required)")
	cmd.Flags().BoolVar(&o.Overwrite, "overwrite", false, "replace what is there")
	return cmd
}

// Report is the machine-readable output.
type Report struct {
	Model    string `json:"model"`
	Out      string `json:"out"`
	Adapters int    `json:"adapters"`
}

func merge(_ context.Context, a *app.App, o options) error {
	return convert(a, o, func(m *onnxgraph.Model) (*onnxgraph.Model, error) {
		merged, err := finetune.Merge(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Model, err)
		}
		return m, merged.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite})
	})
}

func load(_ context.Context, a *app.App, o options) error {
	return convert(a, o, func(m *onnxgraph.Model) (*onnxgraph.Model, error) {
		m, _, err := finetune.ReadPEFT(o.Adapter, m, ops.Registry(), o.Prefix)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Model, err)
		}
		return m, m.WriteFile(o.Out, onnxgraph.WriteOptions{Overwrite: o.Overwrite})
	})
}

func export(_ context.Context, a *app.App, o options) error {
	return convert(a, o, func(m *onnxgraph.Model) (*onnxgraph.Model, error) {
		if err := finetune.WritePEFT(o.Out, m, o.Strip, o.Overwrite); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Model, err)
		}
		return m, nil
	})
}

// convert reads the model, lets write make something of it, and reports the
// adapters of the model that write returns.
func convert(a *app.App, o options, write func(*onnxgraph.Model) (*onnxgraph.Model, error)) error {
	m, err := onnxgraph.ReadFile(o.Model)
	if err != nil {
		return err
	}
	if m, err = write(m); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w; --overwrite replaces it", err)
		}
		return err
	}
	r := Report{Model: o.Model, Out: o.Out}
	if adapters, err := finetune.AdaptersOf(m); err == nil && adapters != nil {
		r.Adapters = len(adapters.Adapters)
	}
	if a.JSON {
		return a.WriteJSON(r)
	}
	_, err = fmt.Fprintf(a.Out, "written %s (%d adapters)\n", r.Out, r.Adapters)
	return err
}
